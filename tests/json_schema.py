"""A validator for the part of JSON schema that the package's schemas use; any other keyword is an error."""

_TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "number": (int, float),
    "integer": int,
}
_WORDS = {"$schema", "$defs", "title", "description", "default"}  # that refuse nothing


def faults(value, schema, root=None, where="$"):
    """What is wrong with a value, one line each."""
    root = root or schema
    found = []
    for word, rule in sorted(schema.items(), key=lambda item: item[0] != "type"):  # the rest takes the type for granted
        if word == "$ref":
            found += faults(value, root["$defs"][rule.removeprefix("#/$defs/")], root, where)
        elif word == "type":
            right = isinstance(value, _TYPES[rule]) and (rule == "boolean" or not isinstance(value, bool))
            found += [] if right else [f"{where}: {value!r} is no {rule}"]
        elif word == "enum":
            found += [] if value in rule else [f"{where}: {value!r} is not in {rule}"]
        elif word == "anyOf":
            found += (
                [] if any(not faults(value, one, root) for one in rule) else [f"{where}: {value!r} is none of {rule}"]
            )
        elif word == "required":
            found += [f"{where}: lacks {key}" for key in rule if key not in value]
        elif word == "properties":
            found += [
                fault for key in value if key in rule for fault in faults(value[key], rule[key], root, f"{where}.{key}")
            ]
        elif word == "additionalProperties":
            found += [] if rule else [f"{where}: {key} is unknown" for key in set(value) - set(schema["properties"])]
        elif word == "items":
            found += [fault for i, item in enumerate(value) for fault in faults(item, rule, root, f"{where}[{i}]")]
        elif word not in _WORDS:
            raise AssertionError(f"this validator does not know {word}")
        if found and word == "type":
            return found
    return found
