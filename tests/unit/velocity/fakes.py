# ruff: noqa: N802, N805, UP031, FBT002, FBT003, ARG002, C901, PLR0911, TRY301, RUF005 - Java names and shapes
"""Rebuilds the context of a conformance case as Python objects (see README.md).

build_context(case["context"], worlds) returns a plain dict name -> value. Values are
str, int, float, bool, None, list, dict and the fixture classes below. A fixture offers
exactly the methods named in its VTL_METHODS, spelled as in Java; a bean property
`$x.foo` is the method getFoo() or getfoo(), as in Velocity. `__getattr__` only helps
engines that look properties up as Python attributes; an engine with an allow-list
should use VTL_METHODS and not Python attribute access.
"""


class FixtureError(Exception):
    """What a Java fixture would throw."""


class Fixture:
    VTL_METHODS = frozenset()

    def __getattr__(self, name):
        if name[:1].isalpha():
            for cand in ("get" + name[0].upper() + name[1:], "get" + name):
                if cand in self.VTL_METHODS:
                    return getattr(self, cand)()
        raise AttributeError(name)


class World:
    def __init__(self, d, current=None, attribute_default=None):
        self.attribute_default = attribute_default or d.get("attributeDefault", "null")
        self.by_guid, self.by_velocity_name = {}, {}
        self.environment = Environment(self, d["environment"])
        self.container = Container(self, d["container"])
        self.current = self.by_guid[current or d["current"]]

    def missing(self, name):
        return {"empty": "", "echo": name + "-value", "one": "1"}.get(self.attribute_default)


class Attr(Fixture):
    VTL_METHODS = frozenset({"getName", "getValue", "toString"})

    def __init__(self, name, value):
        self._n, self._v = name, value

    def getName(self):
        return self._n

    def getValue(self):
        return self._v

    def toString(self):
        return "%s=%s" % (self._n, self._v)

    __str__ = toString


class Var(Fixture):
    VTL_METHODS = frozenset({"getAttributeName", "getAttributeValue"})

    def __init__(self, name, value):
        self._n, self._v = name, value

    def getAttributeName(self):
        return self._n

    def getAttributeValue(self):
        return self._v


NODE = {
    "getName",
    "getGuid",
    "getAttribute",
    "getBoolean",
    "getAttributeAsBoolean",
    "hasAttributeDefined",
    "getAttributes",
    "toString",
}


class Node(Fixture):
    def __init__(self, world, d):
        self._w, self._name, self._guid = world, d.get("name"), d.get("guid")
        self._attrs = dict(d.get("attributes") or {})

    def _raw(self, n):
        return self._attrs[n] if n in self._attrs else self._w.missing(n)

    def getName(self):
        return self._name

    def getGuid(self):
        return self._guid

    def getAttribute(self, n, opt=None):
        v = self._raw(n)
        if isinstance(opt, bool):
            if v is None and opt:
                raise FixtureError("Attribute '%s' not found" % n)
            return v
        if opt is not None and (v is None or v == ""):
            return opt
        return v

    def getBoolean(self, n):
        return self._raw(n) in ("1", "true")

    def getAttributeAsBoolean(self, n):
        return self.getBoolean(n)

    def hasAttributeDefined(self, n):
        return n in self._attrs

    def getAttributes(self):
        return [Attr(k, v) for k, v in self._attrs.items()]

    def toString(self):
        return str(self)


class Instance(Node):
    VTL_METHODS = frozenset(
        NODE
        | {
            "getPacketType",
            "getPacketGuid",
            "getPacketModuleBranchPath",
            "getVelocityName",
            "getRelativePath",
            "getParent",
            "getChildren",
            "getContainer",
            "getEnvironment",
            "hasPacketType",
            "getInstancesByPacketType",
            "getInstanceByPacketType",
            "getInstanceByPacketTypeAndAttributeValue",
            "getParentInstanceByAttributeValue",
            "getParentInstanceByPacketType",
            "byVelocity",
            "getInstanceByAttributeVelocityName",
            "getInstancesByAttributeVelocityNames",
            "getInstancesByFileExtensions",
        }
    )

    def __init__(self, world, d, parent):
        super().__init__(world, d)
        self._type, self._vn, self._parent = d.get("packetType"), d.get("velocityName"), parent
        world.by_guid[self._guid] = self
        if self._vn:
            world.by_velocity_name[self._vn] = self
        self._children = [Instance(world, c, self) for c in d.get("children") or []]

    def __str__(self):
        return "%s (%s)" % (self._name, self._type)

    def getPacketType(self):
        return self._type

    def getPacketGuid(self):
        return "packet-" + self._guid

    def getPacketModuleBranchPath(self):
        return "modules/%s" % self._type

    def getVelocityName(self):
        return self._vn

    def getRelativePath(self):
        return "%s/%s/%s" % (self._w.environment.getName(), self._w.container.getName(), self._guid)

    def getParent(self):
        return self._parent

    def getChildren(self):
        return self._children

    def getContainer(self):
        return self._w.container

    def getEnvironment(self):
        return self._w.environment

    def hasPacketType(self, t):
        return t == self._type

    def _collect(self, deep):
        out = []
        for c in self._children:
            out.append(c)
            if deep:
                out += c._collect(True)
        return out

    def getInstancesByPacketType(self, *a):
        deep, t = (True, a[0]) if len(a) == 1 else a
        return [i for i in self._collect(deep) if i._type == t]

    def getInstanceByPacketType(self, t):
        found = self.getInstancesByPacketType(t)
        return found[0] if found else None

    def getInstanceByPacketTypeAndAttributeValue(self, t, a, v):
        for i in self.getInstancesByPacketType(t):
            if i._raw(a) == v:
                return i
        return None

    def getParentInstanceByAttributeValue(self, a, v, include_self):
        p = self if include_self else self._parent
        while p is not None and p._raw(a) != v:
            p = p._parent
        return p

    def getParentInstanceByPacketType(self, t):
        p = self._parent
        while p is not None and p._type != t:
            p = p._parent
        return p

    def byVelocity(self, a, required=True, unused=True):
        n = self._raw(a)
        i = None if n is None else self._w.by_velocity_name.get(str(n))
        if i is None and required:
            raise FixtureError("No instance with Velocity name '%s'" % n)
        return i

    def getInstanceByAttributeVelocityName(self, a, required=True, unused=True):
        return self.byVelocity(a, required, unused)

    def getInstancesByAttributeVelocityNames(self, a, required, unused):
        out, v = [], self._raw(a)
        for s in ("" if v is None else str(v)).split(","):
            i = self._w.by_velocity_name.get(s.strip())
            if i is not None:
                out.append(i)
            elif required:
                raise FixtureError("No instance with Velocity name '%s'" % s)
        return out

    def getInstancesByFileExtensions(self, *a):
        include_self = a[0] if a and isinstance(a[0], bool) else True
        return ([self] if include_self else []) + self._collect(True)


class Container(Node):
    VTL_METHODS = frozenset(NODE | {"getContainerVars", "getInstances"})

    def __init__(self, world, d):
        super().__init__(world, d)
        self._vars = [Var(k, v) for k, v in (d.get("vars") or {}).items()]
        self._instances = [Instance(world, i, None) for i in d["instances"]]

    def getContainerVars(self):
        return self._vars

    def getInstances(self):
        return self._instances

    def __str__(self):
        return "container %s" % self._name


class Record(Fixture):
    FIELDS = ()

    def __init__(self, d):
        self._d = d

    def __init_subclass__(cls):
        cls.VTL_METHODS = frozenset("get" + f[0].upper() + f[1:] for f in cls.FIELDS)
        for f in cls.FIELDS:
            setattr(cls, "get" + f[0].upper() + f[1:], lambda self, f=f: self._d.get(f))


class PacketAttribute(Record):
    FIELDS = (
        "name",
        "captionKey",
        "tooltip",
        "typeClassName",
        "uiFieldClassName",
        "required",
        "isKey",
        "defaultValue",
        "newItemsAllowed",
        "maxLength",
        "listOfValues",
    )


class Packet(Record):
    FIELDS = ("guid", "name", "packetType", "coreClassAttributes")

    def __init__(self, d):
        super().__init__(dict(d, coreClassAttributes=[PacketAttribute(a) for a in d["coreClassAttributes"]]))


class Environment(Node):
    VTL_METHODS = frozenset(
        NODE | {"getEnvironmentVars", "getModuleBranchPath", "getRuntimeModulePath", "getAllPackets", "throwException"}
    )

    def __init__(self, world, d):
        super().__init__(world, d)
        self._vars = [Var(k, v) for k, v in (d.get("vars") or {}).items()]
        self._packets = [Packet(p) for p in d.get("packets") or []]

    def getEnvironmentVars(self):
        return self._vars

    def getModuleBranchPath(self):
        return "modules/%s" % self._name

    def getRuntimeModulePath(self):
        return "/run/%s" % self._name

    def getAllPackets(self):
        return self._packets

    def throwException(self, message):
        raise FixtureError(message)

    def __str__(self):
        return "environment %s" % self._name


class Utils(Fixture):
    VTL_METHODS = frozenset({"doubleQuoteCsvList", "nextAlphabeticCharacter", "getNewList", "getNewMap"})

    def doubleQuoteCsvList(self, s):
        return ",".join('"%s"' % p.strip() for p in java_split_comma(s))

    def nextAlphabeticCharacter(self, s):
        return chr(ord(s[0]) + 1) if s else "a"

    def getNewList(self):
        return []

    def getNewMap(self):
        return {}


def java_split_comma(s):
    parts = s.split(",")
    while len(parts) > 1 and parts[-1] == "":
        parts.pop()
    return parts


class Probe(Fixture):
    """Overloads, nulls, void methods, failures, a generic get(String)."""

    VTL_METHODS = frozenset(
        {
            "getTitle",
            "setTitle",
            "isActive",
            "isClosed",
            "getURL",
            "getlower",
            "nothing",
            "getNothing",
            "touch",
            "fail",
            "echo",
            "add",
            "kind",
            "join",
            "get",
            "put",
            "self",
            "getItems",
            "getMap",
            "toString",
        }
    )

    def __init__(self, title):
        self._title, self._store = title, {}

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("_") or name not in self._store:
                raise
            return self._store[name]

    def getTitle(self):
        return self._title

    def setTitle(self, t):
        self._title = t

    def isActive(self):
        return True

    def isClosed(self):
        return False

    def getURL(self):
        return "u:%s" % self._title

    def getlower(self):
        return "lower"

    def nothing(self):
        return None

    def getNothing(self):
        return None

    def touch(self):
        self._title += "!"

    touch.returns_void = True  # a void method renders as "", not as null

    def put(self, k, v):
        self._store[k] = v

    put.returns_void = True
    setTitle.returns_void = True

    def fail(self):
        raise FixtureError("probe failed")

    def echo(self, o):
        return o

    def add(self, a, b):
        return a + b

    def kind(self, s):
        return {str: "string", int: "int", bool: "bool", list: "list", dict: "map"}[type(s)]

    def join(self, sep, *a):
        return sep.join(str(x) for x in a)

    def get(self, k):
        return self._store.get(k)

    def self(this):
        return this

    def getItems(self):
        return ["x", "y", "z"]

    def getMap(self):
        return {"k": "v", "n": 3}

    def toString(self):
        return str(self)

    def __str__(self):
        return "Probe[%s]" % self._title


class JavaInteger(Fixture):
    VTL_METHODS = frozenset({"parseInt", "valueOf", "toString"})

    @staticmethod
    def _int(s):
        try:
            if s != s.strip() or "_" in s:
                raise ValueError
            return int(s)
        except ValueError:
            raise FixtureError('For input string: "%s"' % s) from None

    def parseInt(self, s):
        return self._int(s)

    def valueOf(self, s):
        return s if isinstance(s, int) else self._int(s)


class JavaString(Fixture):
    VTL_METHODS = frozenset({"format", "join", "valueOf"})

    def format(self, fmt, *a):
        return fmt % tuple(a)

    def join(self, sep, items, *rest):
        return sep.join(items if isinstance(items, list) else (items,) + rest)

    def valueOf(self, o):
        return "true" if o is True else "false" if o is False else str(o)


class ContextObject(Fixture):
    """$velocityContext: get(name) reads the live variables of the render.

    It starts with the initial context; an engine that copies the context should
    rebind it to its own scope if it wants get() to see later #set values."""

    VTL_METHODS = frozenset({"get", "put", "containsKey"})

    def __init__(self, ctx):
        self._ctx = ctx

    def get(self, k):
        return self._ctx.get(k)

    def put(self, k, v):
        old = self._ctx.get(k)
        self._ctx[k] = v
        return old

    def containsKey(self, k):
        return k in self._ctx

    def vtl_bind(self, scope):
        return ContextObject(Live(scope))


class Live:
    """The live variables behind the names that ContextObject uses."""

    def __init__(self, scope):
        self._scope = scope

    def get(self, k):
        return self._scope.get(k)

    def __setitem__(self, k, v):
        self._scope.put(k, v)

    def __contains__(self, k):
        return self._scope.contains(k)


CLASSES = {"java.lang.Integer": JavaInteger, "java.lang.String": JavaString}


def build_context(context, worlds):
    ctx = {}
    world = None
    name = context.get("$world")
    if name is not None:
        d = name if isinstance(name, dict) else worlds[name]
        world = World(d, context.get("$current"), context.get("$attributeDefault"))
        ctx.update(world.by_velocity_name)
        ctx.update(world.current._attrs)
        ctx.update(
            instance=world.current,
            container=world.container,
            environment=world.environment,
            D="$",
            velocityUtils=Utils(),
            velocityService=Utils(),
            velocityContext=ContextObject(ctx),
            Integer=JavaInteger(),
            String=JavaString(),
        )

    def conv(o):
        if isinstance(o, list):
            return [conv(x) for x in o]
        if isinstance(o, dict):
            kind = o.get("$object")
            if kind is None:
                return {k: conv(v) for k, v in o.items()}
            if kind == "probe":
                return Probe(o["title"])
            if kind == "attribute":
                return Attr(o["name"], conv(o["value"]))
            if kind == "instance":
                return world.by_guid[o["guid"]]
            if kind == "utils":
                return Utils()
            if kind == "context":
                return ContextObject(ctx)
            if kind == "class":
                return CLASSES[o["name"]]()
            raise ValueError(kind)
        return o

    for k, v in context.items():
        if not k.startswith("$"):
            ctx[k] = conv(v)
    return ctx
