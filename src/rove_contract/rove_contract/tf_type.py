# SPDX-License-Identifier: Apache-2.0
"""tf2_msgs/msg/TFMessage where no package brings it: ROS 2's Python wheels have none. Messages of it are sent and taken
as bytes only (see rove_contract.tf), so that it needs a name, a hash and a description, but no conversion.

On the wire it is the real type: rviz, Foxglove and `ros2 bag` of an installed ROS 2 match it.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

from geometry_msgs.msg import TransformStamped

NAMESPACE, NAME = b"tf2_msgs::msg", b"TFMessage"
# REP-2011's hash of the type; a test compares it with that of the recorder's type store.
HASH = bytes.fromhex("e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087")
NESTED_SEQUENCE = 145  # FIELD_TYPE_NESTED_TYPE_UNBOUNDED_SEQUENCE of type_description_interfaces


def _sequence(item: type[ctypes.Structure]) -> type[ctypes.Structure]:
    """rosidl's sequence of a structure."""
    fields = [("data", ctypes.POINTER(item)), ("size", ctypes.c_size_t), ("capacity", ctypes.c_size_t)]
    return type(f"{item.__name__}Sequence", (ctypes.Structure,), {"_fields_": fields})


class _String(ctypes.Structure):
    """rosidl_runtime_c__String."""

    _fields_ = [("data", ctypes.c_char_p), ("size", ctypes.c_size_t), ("capacity", ctypes.c_size_t)]

    @classmethod
    def of(cls, text: str) -> _String:
        data = text.encode()
        return cls(data, len(data), len(data) + 1)


class _FieldType(ctypes.Structure):
    _fields_ = [
        ("type_id", ctypes.c_uint8),
        ("capacity", ctypes.c_uint64),
        ("string_capacity", ctypes.c_uint64),
        ("nested_type_name", _String),
    ]


class _Field(ctypes.Structure):
    _fields_ = [("name", _String), ("type", _FieldType), ("default_value", _String)]


class _Individual(ctypes.Structure):
    """rosidl_runtime_c__type_description__IndividualTypeDescription."""

    _fields_ = [("type_name", _String), ("fields", _sequence(_Field))]


class _Description(ctypes.Structure):
    """rosidl_runtime_c__type_description__TypeDescription."""

    _fields_ = [("type_description", _Individual), ("referenced", _sequence(_Individual))]


class _Hash(ctypes.Structure):
    """rosidl_type_hash_t."""

    _fields_ = [("version", ctypes.c_uint8), ("value", ctypes.c_uint8 * 32)]


class _Support(ctypes.Structure):
    """rosidl_message_type_support_t."""

    _fields_ = [
        ("identifier", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("func", ctypes.c_void_p),
        ("get_hash", ctypes.c_void_p),
        ("get_description", ctypes.c_void_p),
        ("get_sources", ctypes.c_void_p),
    ]


class _Callbacks(ctypes.Structure):
    """message_type_support_callbacks_t of rosidl_typesupport_fastrtps_cpp; the last five stay as they are."""

    _fields_ = [("namespace", ctypes.c_char_p), ("name", ctypes.c_char_p), ("rest", ctypes.c_void_p * 5)]


class _Member(ctypes.Structure):
    """rosidl_typesupport_introspection_c__MessageMember; the rest converts and is never called."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("type_id", ctypes.c_uint8),
        ("string_upper_bound", ctypes.c_size_t),
        ("members", ctypes.POINTER(_Support)),
        ("is_key", ctypes.c_bool),
        ("is_array", ctypes.c_bool),
        ("array_size", ctypes.c_size_t),
        ("is_upper_bound", ctypes.c_bool),
        ("offset", ctypes.c_uint32),
        ("default_value", ctypes.c_void_p),
        ("functions", ctypes.c_void_p * 6),
    ]


class _Members(ctypes.Structure):
    """rosidl_typesupport_introspection_c__MessageMembers."""

    _fields_ = [
        ("namespace", ctypes.c_char_p),
        ("name", ctypes.c_char_p),
        ("count", ctypes.c_uint32),
        ("size", ctypes.c_size_t),
        ("has_any_key", ctypes.c_bool),
        ("members", ctypes.POINTER(_Member)),
        ("functions", ctypes.c_void_p * 2),
    ]


_GET = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
_FIND = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
FASTRTPS, INTROSPECTION = b"rosidl_typesupport_fastrtps_c", b"rosidl_typesupport_introspection_c"
MESSAGE = 18  # rosidl_typesupport_introspection_c__ROS_TYPE_MESSAGE


def _support_of_transform(kind: str) -> Any:
    """Pointer to the type support of geometry_msgs/TransformStamped; kind: fastrtps or introspection."""
    name = f"rosidl_typesupport_{kind}_c"
    library = ctypes.CDLL(f"libgeometry_msgs__{name}.so")
    get = getattr(library, f"{name}__get_message_type_support_handle__geometry_msgs__msg__TransformStamped")
    get.restype = ctypes.POINTER(_Support)
    return get()


@cache
def tf_message_class() -> type:
    """What rclpy takes as the message type, for publishers of bytes and subscriptions with raw=True."""
    inner = _support_of_transform("introspection")
    model: _Support = _support_of_transform("fastrtps").contents
    callbacks = _Callbacks.from_buffer_copy(_Callbacks.from_address(model.data))
    callbacks.namespace, callbacks.name = NAMESPACE, NAME
    member = _Member(b"transforms", MESSAGE, 0, inner, False, True)
    members = _Members(NAMESPACE.replace(b"::", b"__"), NAME, 1, 24, False, ctypes.pointer(member))

    hashed = _Hash(1, (ctypes.c_uint8 * 32)(*HASH))
    description = _describe(model)
    get_hash = _GET(lambda _: ctypes.addressof(hashed))
    get_description = _GET(lambda _: ctypes.addressof(description))
    supports: dict[bytes, _Support] = {}
    find = _FIND(lambda _, kind: ctypes.addressof(supports[kind]) if kind in supports else None)
    for kind, model_of_kind, data in ((FASTRTPS, model, callbacks), (INTROSPECTION, inner.contents, members)):
        support = _Support.from_buffer_copy(model_of_kind)
        support.data = ctypes.addressof(data)
        support.func, support.get_hash, support.get_description = (
            ctypes.cast(function, ctypes.c_void_p) for function in (find, get_hash, get_description)
        )
        supports[kind] = support

    capsule = ctypes.pythonapi.PyCapsule_New
    capsule.restype, capsule.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    metaclass: Any = type(TransformStamped)
    metaclass.__import_type_support__()

    class Metaclass(type):
        """Where rclpy looks for a type's functions; those that convert are never called for bytes."""

        _TYPE_SUPPORT = capsule(ctypes.addressof(supports[FASTRTPS]), None, None)
        _CREATE_ROS_MESSAGE = metaclass._CREATE_ROS_MESSAGE
        _CONVERT_FROM_PY = metaclass._CONVERT_FROM_PY
        _CONVERT_TO_PY = metaclass._CONVERT_TO_PY
        _DESTROY_ROS_MESSAGE = metaclass._DESTROY_ROS_MESSAGE
        keep = (callbacks, member, members, hashed, description, get_hash, get_description, find, supports)

    return Metaclass(NAME.decode(), (), {"__module__": "tf2_msgs.msg"})


def _describe(model: _Support) -> _Description:
    """REP-2016's description: one field, and what TransformStamped consists of, by name."""
    get = ctypes.CFUNCTYPE(ctypes.POINTER(_Description), ctypes.c_void_p)(model.get_description)
    inner = get(ctypes.addressof(model)).contents
    parts = [inner.type_description, *(inner.referenced.data[i] for i in range(inner.referenced.size))]
    parts.sort(key=lambda part: part.type_name.data)
    kind = _FieldType(NESTED_SEQUENCE, 0, 0, _String.of("geometry_msgs/msg/TransformStamped"))
    field = (_Field * 1)(_Field(_String.of("transforms"), kind, _String.of("")))
    own = _Individual(_String.of("tf2_msgs/msg/TFMessage"), _sequence_of(_Individual._fields_[1][1], field))
    description = _Description(own, _sequence_of(_Description._fields_[1][1], (_Individual * len(parts))(*parts)))
    description.keep = (field, parts)  # the structures hold addresses only
    return description


def _sequence_of(kind: Any, items: Any) -> Any:
    found = kind(items, len(items), len(items))
    found.keep = items
    return found
