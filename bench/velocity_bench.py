"""How many times a second a parsed packet file renders, beside airspeed: `python bench/velocity_bench.py`.

The template is the common ground of both engines: airspeed cannot parse `#[[ ]]#`, quotes in quotes or backslashes in
strings, and calls methods by their Python names, so hosts offer `getName` and the like as plain methods. The two texts
are compared first, but for white space.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import airspeed

from infraxys import velocity

if TYPE_CHECKING:
    from collections.abc import Callable

TEMPLATE = """\
#!/usr/bin/env bash
set -euo pipefail

# Creates the servers of $environment.getName() in $container.getName().
export REGION="$region"
export NAME_PREFIX="${environment.getName()}-${container.getName()}"
#set($count = 0)
#set($tags = "Environment=$environment.getName(),Owner=$owner")

log_info "Applying $instance.getName() with ${D}NAME_PREFIX";

cat > terraform.tfvars <<EOF
name   = "$instance.getName()"
region = "$region"
tags   = "$tags"
EOF

#foreach($server in $instance.getChildren())
#if($server.getAttribute("enabled") == "1")
#set($count = $count + 1)
resource "aws_instance" "$server.getName()" {
  ami           = "$server.getAttribute("ami")"
  instance_type = "$server.getAttribute("size")"
  subnet_id     = "$server.getAttribute("subnet")"
#if($server.getAttribute("size") == "large")
  monitoring    = true
#else
  monitoring    = false
#end
  tags = {
    Name  = "${container.getName()}-${server.getName()}"
    Index = "$velocityCount"
    Owner = "$owner"
  }
}
#end
#end

#foreach($variable in $variables)
export $variable.name="$variable.value";
#end

#if($count > 0)
echo "Created $count servers in $region.";
terraform_apply --directory "$directory" --auto-approve true
#else
echo "Nothing to do in $region.";
#end

#macro(report $label $value)
printf '%s\\t%s' "$label" "$value"
#end
#report("region" $region)
#report("owner" $owner)
"""


@dataclass
class Thing:
    """An instance, container or environment for both engines."""

    VTL_METHODS = frozenset({"getName", "getAttribute", "getChildren"})
    label: str
    attributes: dict[str, str]
    children: list[Thing]

    def getName(self) -> str:  # noqa: N802 - the name that templates use
        return self.label

    def getAttribute(self, name: str) -> str:  # noqa: N802 - the name that templates use
        return self.attributes[name]

    def getChildren(self) -> list[Thing]:  # noqa: N802 - the name that templates use
        return self.children


def context() -> dict[str, object]:
    servers = [
        Thing(f"web{n}", {"enabled": str(n % 4 and 1), "ami": f"ami-{n}", "size": "large", "subnet": "subnet-1"}, [])
        for n in range(8)
    ]
    return {
        "instance": Thing("shop", {}, servers),
        "container": Thing("store", {}, []),
        "environment": Thing("prod", {}, []),
        "region": "eu-west-1",
        "owner": "team-a",
        "directory": "/tmp/work",
        "D": "$",
        "variables": [{"name": f"VAR_{n}", "value": f"value {n}"} for n in range(6)],
    }


def rate(work: Callable[[], object], seconds: float) -> float:
    """Return the best rate of three measurements, in calls per second."""
    best = 0.0
    for _ in range(3):
        done, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            for _ in range(20):
                work()
            done += 20
        best = max(best, done / (time.perf_counter() - started))
    return best


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 0.5
    ours, theirs = velocity.compile(TEMPLATE, "bench"), airspeed.Template(TEMPLATE)
    one, two = ours.render(context()).text, theirs.merge(context())
    values = context()
    result = {
        "same text": "".join(one.split()) == "".join(two.split()),
        "lines": TEMPLATE.count("\n"),
        "infraxys renders/s": round(rate(lambda: ours.render(values), seconds)),
        "airspeed renders/s": round(rate(lambda: theirs.merge(dict(values)), seconds)),
        "infraxys parses/s": round(rate(lambda: velocity.compile(TEMPLATE, "bench"), seconds)),
    }
    result["ratio"] = round(result["infraxys renders/s"] / result["airspeed renders/s"], 1)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
