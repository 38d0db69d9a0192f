"""What every doorway shares: options from a dataclass, a `--help` that teaches, errors in one line.

    arguments (`key=value`, Hydra's syntax)  ->  a checked configuration object  ->  exit code

0: done. 1: looked at, and found wanting (mode=verify). 2: a mistake of the user, said in one line. A programming
error keeps its traceback.
The dataclasses own names, types and meanings; `configs/*.yaml` choose values; nothing names a class by path.
"""

import ast
import importlib
import inspect
import os
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from sharding.errors import Ended, UserError, did_you_mean, full_disk

COMMANDS = {
    "shard": "SMILES -> shards of graphs, descriptions and tokens",
    "tokenizer": "a corpus -> the two tokenizers (a default pair ships with the project)",
    "pretrain": "shards -> a run: both contrastive streams, checkpoints, evaluation",
    "export": "a run's checkpoint -> an encoder folder that loads without DeepSpeed",
    "embed": "an encoder and a file of molecules -> their vectors",
    "finetune": "an encoder and a table of labelled molecules -> a model and its test score",
    "evaluate": "an encoder and MoleculeNet's sets -> one table beside baselines, with intervals",
    "predict": "a fine-tuned model and a table of molecules -> predictions",
    "explain": "a fine-tuned model -> why it answers so: modalities, atoms, attention, a map",
    "report": "a run -> one page with pictures of how it went, at any time",
    "demo": "all of the above on small real data, and a report with pictures",
}
SILENT_S = 20.0
"""How long a rank other than the first keeps a mistake to itself."""
ENTRIES = "entries by name"
"""The kind of an option that a user adds entries to, as models.mine.freeze=false."""
Config = TypeVar("Config")


class Option(NamedTuple):
    """One line of `--help`."""

    name: str
    kind: str
    default: str
    meaning: str


def main() -> int:
    """The installed command: `molparallax COMMAND key=value ...`."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        lines = [f"  {name:10s} {about}" for name, about in COMMANDS.items()]
        print("molparallax: molecules from two viewpoints, local and global\n")
        print("usage: molparallax COMMAND [key=value ...]\n\n" + "\n".join(lines))
        print("\nmolparallax COMMAND --help   lists the command's options with their meaning")
        return 0
    if arguments[0] not in COMMANDS:
        close = did_you_mean(arguments[0], COMMANDS)
        print(
            f"error: no command '{arguments[0]}'.{close} There are: {', '.join(COMMANDS)}.", file=sys.stderr
        )
        return 2
    door = importlib.import_module(f"launch.{arguments[0]}")
    return int(door.main(arguments[1:]))


def doorway(
    name: str,
    config: type[Config],
    run: Callable[[Config], int | None],
    about: str | None,
    arguments: Sequence[str] | None,
) -> int:
    """Parse, run, report: the exit code of `launch/<name>.py`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # the deepspeed launcher appends this for scripts of another age; the rank is in the environment
    given = [argument for argument in given if not argument.startswith("--local_rank")]
    if {"-h", "--help"} & set(given):
        print(help_text(config, about or ""))
        return 0
    try:
        return run(compose_config(name, config, given)) or 0
    except UserError as error:
        if not _first():
            time.sleep(SILENT_S)  # all ranks find most mistakes; this one says its own if nobody has ended it
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Ended as ended:
        if _first():  # all leave together
            print(ended, file=sys.stderr)
        return ended.code
    except OSError as error:
        if not (told := full_disk(error)):
            raise
        print(f"error: {told}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; what is complete stays complete", file=sys.stderr)
        return 130


def _first() -> bool:
    """Whether this is the rank that speaks for all. When it has ended, its launcher ends the others."""
    return os.environ.get("RANK", "0") == "0"


def compose_config(name: str, config: type[Config], overrides: Sequence[str]) -> Config:
    """The configuration object that YAML and overrides choose. Raises `UserError` naming the option."""
    from hydra import compose, initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

    import configs

    folder = Path(configs.__file__).parent
    known = {option.name: option for option in options(config)}
    _check_names(name, known, overrides, folder)
    ConfigStore.instance().store(name=f"{name}_schema", node=config)
    try:
        with initialize_config_dir(str(folder), version_base=None):
            composed = compose(name, [_entry(override, known) for override in overrides])
        return OmegaConf.to_object(composed)  # type: ignore[return-value]
    except MissingMandatoryValue as error:
        missing = str(error).splitlines()[0].rpartition(": ")[2]
        meaning = f" ({known[missing].meaning.rstrip('.')})" if missing in known else ""
        raise UserError(f"option {missing}=... is required{meaning}. See --help.") from error
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"{_root_message(error)} See --help.") from error


def help_text(config: type, about: str) -> str:
    """Usage, examples and every option with type, default and meaning."""
    import configs

    groups = sorted(
        p for p in Path(configs.__file__).parent.iterdir() if p.is_dir() and list(p.glob("*.yaml"))
    )
    roots = {field.name for field in fields(config)}
    lines = [inspect.cleandoc(about), "", "Options (key=value):"]
    for group in groups:
        if group.name in roots:
            names = ", ".join(sorted(p.stem for p in group.glob("*.yaml")))
            lines += [f"  {group.name}", f"      One of the files of configs/{group.name}: {names}."]
    for option in options(config):
        default = "required" if option.default == "???" else f"default {option.default}"
        lines.append(f"  {option.name}  <{option.kind}, {default}>")
        lines.append(textwrap.fill(option.meaning, 100, initial_indent=" " * 6, subsequent_indent=" " * 6))
    return "\n".join(lines)


def options(config: type, prefix: str = "") -> Iterator[Option]:
    """Every option of a configuration, nested ones with dots, with the text under its field as meaning."""
    meanings, hints = _field_docs(config), get_type_hints(config)
    for field in fields(config):
        kind = hints[field.name]
        if is_dataclass(kind):
            yield from options(kind, f"{prefix}{field.name}.")  # type: ignore[arg-type]
            continue
        if field.default_factory is not NO_DEFAULT:
            default: Any = field.default_factory()
        else:
            default = field.default
        text = str(_plain(default)).replace("'", "") or '""'
        yield Option(f"{prefix}{field.name}", _kind(kind), text, meanings.get(field.name, ""))


def _plain(default: Any) -> Any:
    if isinstance(default, list):
        return [_plain(item) for item in default]
    return default.value if isinstance(default, Enum) else default


def _kind(hint: Any) -> str:
    if inspect.isclass(hint) and issubclass(hint, Enum):
        return " | ".join(member.value for member in hint)
    if get_origin(hint) is list:
        return f"list of {_kind(get_args(hint)[0])}"
    if get_origin(hint) is dict:
        return ENTRIES
    return getattr(hint, "__name__", str(hint)) if not getattr(hint, "__args__", None) else str(hint)


def _field_docs(config: type) -> dict[str, str]:
    """The string literal under each field, inherited ones too: Python keeps it in the source only."""
    docs: dict[str, str] = {}
    for owner in reversed(config.__mro__):
        if is_dataclass(owner):
            docs |= _own_field_docs(owner)
    return docs


def _own_field_docs(config: type) -> dict[str, str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(config))).body[0]
    docs: dict[str, str] = {}
    assert isinstance(tree, ast.ClassDef)
    for field, text in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            docs[field.target.id] = " ".join(str(text.value.value).split())
    return docs


def _check_names(name: str, known: dict[str, Option], overrides: Sequence[str], folder: Path) -> None:
    """Hydra would name the key; this also says which one was meant."""
    groups = {p.name: p for p in folder.iterdir() if p.is_dir()}
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise UserError(
                f"'{override}' is not key=value. Example: launch/{name}.py {next(iter(known))}=..."
            )
        key = key.lstrip("+~")
        if key in known or _holder(key, known):
            continue
        if key not in groups or not any(option.startswith(f"{key}.") for option in known):
            raise UserError(f"unknown option '{key}'.{did_you_mean(key, [*known, *groups])} See --help.")
        choices = sorted(p.stem for p in groups[key].glob("*.yaml"))
        if value not in choices:
            raise UserError(
                f"{key}={value} is no file of configs/{key}.{did_you_mean(value, choices)}"
                f" There are: {', '.join(choices)}."
            )


def _entry(override: str, known: dict[str, Option]) -> str:
    """As Hydra wants it: entries of an option that holds entries by name may be new or there already."""
    key = override.lstrip("+~").partition("=")[0]
    return f"++{override}" if _holder(key, known) else override


def _holder(key: str, known: dict[str, Option]) -> bool:
    """Whether the key is an option that holds entries by name, or an entry of one, at any depth."""
    return any(known[name].kind == ENTRIES for name in known if f"{key}.".startswith(f"{name}."))


def _root_message(error: BaseException) -> str:
    """The first cause's own words, on one line, with the key that it names."""
    while error.__cause__ is not None:
        error = error.__cause__
    words = [line.strip() for line in str(error).splitlines() if line.strip()]
    key = next((line.removeprefix("full_key: ") for line in words if line.startswith("full_key: ")), "")
    first = words[0].rstrip(".") if words else type(error).__name__
    if "is not a ListConfig" in first:
        first = f"expected a list, as {key}=[a,b]"
    return f"option {key}: {first}." if key else f"{first}."
