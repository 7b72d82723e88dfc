"""Print the versions of all that is installed beside moodstream, as constraints: `name==version` only."""

import re
from importlib.metadata import distributions


def main() -> None:
    """Print one line a distribution, sorted, without moodstream itself and without the installers."""
    found = {}
    for distribution in distributions():
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        if name not in {"moodstream", "pip"}:
            found[name] = distribution.version.split("+")[0]
    print("\n".join(f"{name}=={found[name]}" for name in sorted(found)))


if __name__ == "__main__":
    main()
