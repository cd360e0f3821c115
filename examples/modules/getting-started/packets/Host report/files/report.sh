# A plain look around: what does an action find where it runs?
# It is sourced by the bootstrap shell, so the instance's attributes are shell variables.

echo "Report on $subject"
echo "  run      $RUN_GUID, started by $APPLICATION_USER"
echo "  system   $(. /etc/os-release 2>/dev/null; echo "${PRETTY_NAME:-unknown}"), kernel $(uname -r)"
echo "  cpus     $(nproc)"
echo "  memory   $(awk '/MemAvailable/ { printf "%.1f GiB available", $2 / 1048576 }' /proc/meminfo)"
echo "  disk     $(df -h --output=avail . | tail -n 1 | tr -d ' ') available here"

for tool in $tools; do
    if path=$(command -v "$tool"); then
        echo "  tool     $tool is $path"
    else
        echo "  tool     $tool is not installed"
    fi
done

echo "  argument $(cat /tmp/infraxys/system/custom/arguments.json)"
