"""Say at the end of a traceback which components of plugins it may come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from traceback import walk_tb
from types import FrameType

from torch.optim import Optimizer

from ganzoo.components.trainer import Trainer
from ganzoo.errors import GanzooError
from ganzoo.recipe.model import Recipe
from ganzoo.registry.kinds import Kind
from ganzoo.registry.plugin_manager import LOCAL, PluginManager
from ganzoo.registry.registry import Entry
from ganzoo.runtime.environment import chosen_entries
from ganzoo.text import shell_word

TRAINED = ("generator", "discriminator", "loss", "penalty", "trainer")
"""The kinds whose values the trainer, often ganzoo's own, works with: what is wrong with these fails there."""

Part = tuple[Kind, Entry]


@contextmanager
def plugin_notes(recipe: Recipe, manager: PluginManager) -> Iterator[None]:
    """Add a last line to the traceback of an error that a plugin may have made, with the command that checks it."""
    try:
        yield
    except GanzooError:
        raise
    except Exception as error:
        if note := _note(error, recipe, manager):
            error.add_note(note)
        raise


def _note(error: Exception, recipe: Recipe, manager: PluginManager) -> str:
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    plugins = {str(plugin): plugin for plugin in manager.plugins if not plugin.module.startswith("ganzoo.")}
    chosen = [(kind, entry) for kind, entry in chosen_entries(recipe, manager) if entry.plugin in plugins]
    if suspected := _innermost(frames, chosen):
        told = "this comes out of"
    else:
        told = "this may come from"
        trained = [part for part in chosen if part[0].name in TRAINED]
        in_step = any(frame.f_code.co_name == "train_step" for frame in frames)
        suspected = [part for part in trained if plugins[part[1].plugin].distribution == LOCAL]
        suspected = suspected or (trained if in_step else [])
    texts = []
    for name in dict.fromkeys(entry.plugin for _, entry in suspected):
        parts = dict.fromkeys(f"the {kind.name} {entry.name}" for kind, entry in suspected if entry.plugin == name)
        plugin = plugins[name]
        local = plugin.distribution == LOCAL
        command = f"ganzoo test-plugin {shell_word(plugin.module if local else plugin.distribution)}"
        texts.append(f"{' or '.join(parts)} of the plugin {plugin.name if local else plugin}, which `{command}` checks")
    return f"{told} {'; or from '.join(texts)}" if texts else ""


def _innermost(frames: Sequence[FrameType], parts: Sequence[Part]) -> list[Part]:
    """Return the component whose method an error came out of; none where that is a trainer's, or no component's.

    An optimizer does not know the options that it was built from: all of plugins are returned.
    """
    for frame in reversed(frames):
        owner = type(frame.f_locals.get("self"))
        if issubclass(owner, Trainer):
            return []
        if issubclass(owner, Optimizer):
            return [part for part in parts if part[0].name == "optimizer"]
        place = f"{owner.__module__}:{owner.__qualname__}"
        if found := [part for part in parts if part[1].target in (owner, place) or issubclass(owner, part[1].config)]:
            return found[:1]
    return []
