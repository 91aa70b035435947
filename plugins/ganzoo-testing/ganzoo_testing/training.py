"""Conformance checks of losses, penalties, trainers and optimizers."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from difflib import get_close_matches
from functools import partial
from inspect import getmembers, isfunction
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ganzoo.plugin import (
    Batch,
    DatasetInfo,
    Discriminator,
    Entry,
    GANTrainer,
    GANTrainerConfig,
    Generator,
    Loss,
    NonSaturatingConfig,
    OptimizerConfig,
    OptimizingTrainer,
    Penalty,
    PenaltyStep,
    PluginManager,
    Trainer,
    TrainerConfig,
    TrainingParts,
    VectorSpec,
    World,
    plugin_manager,
)
from ganzoo_testing.fixtures import (
    BATCH,
    LATENT_DIM,
    SMALL_OPTIONS,
    ConformanceError,
    condition_for,
    contract,
    generator_of_seed,
    labels_for,
    require,
    samples_for,
    seeded,
    small_info,
    small_options,
    takes_schedule,
    tiny_discriminator,
    tiny_generator,
)

METHODS = ("discriminator_term", "generator_term", "transform_images", "after_discriminator_step")


def check_loss(entry: Entry, **options: Any) -> None:
    """Check that the losses are finite scalars with gradients, keep no state, and fall where the networks improve.

    Raises:
        ConformanceError: with what to change.
    """
    config = small_options(entry, options)
    loss: Loss = entry.load()(config, info=small_info(config))
    for scale in (1.0, 50.0):
        noise = torch.randn(2, BATCH, generator=generator_of_seed(0)) * scale
        real, fake = noise[0].clone().requires_grad_(), noise[1].clone().requires_grad_()
        with contract("discriminator_loss(real_logits, fake_logits) → a scalar", real, fake):
            value = _loss_of(loss, "discriminator_loss", real, fake)
        value.backward()  # type: ignore[no-untyped-call]
        require(
            real.grad is not None and fake.grad is not None,
            "discriminator_loss leaves out real_logits or fake_logits: the discriminator learns from both",
        )
        fake.grad = None
        with contract("generator_loss(real_logits or None, fake_logits) → a scalar", real, fake):
            value = _loss_of(loss, "generator_loss", real.detach() if loss.needs_real_logits else None, fake)
        value.backward()  # type: ignore[no-untyped-call]
        require(fake.grad is not None, "generator_loss does not depend on fake_logits: the generator cannot learn")
    patches = torch.randn(2, BATCH, 3, 3, generator=generator_of_seed(1))
    with contract("discriminator_loss and generator_loss of logits (N, …) → the mean over all of them"):
        for value in (loss.discriminator_loss(*patches), loss.generator_loss(patches[0], patches[1])):
            require(value.ndim == 0, "gives no scalar for logits (N, …): take the mean over all of them")
    right, wrong = torch.full((BATCH,), 0.5), torch.full((BATCH,), -0.5)
    worse = (right, right) if config.mixes_batch else (wrong, right)  # a distance of both sets has no direction
    require(
        loss.discriminator_loss(right, wrong) < loss.discriminator_loss(*worse),
        "discriminator_loss rises as the discriminator tells real (high logits) from fake (low ones): turn its sign",
    )
    real_logits = right if loss.needs_real_logits else None
    require(
        loss.generator_loss(real_logits, right) < loss.generator_loss(real_logits, wrong),
        "generator_loss rises as generated images get higher logits: turn its sign",
    )


def _loss_of(loss: Loss, name: str, *logits: Tensor | None) -> Tensor:
    """Return the value of a method, checked to be a scalar and the same for the same logits and random numbers."""
    value: Tensor
    value, again = (seeded(partial(getattr(loss, name), *logits)) for _ in range(2))
    _check_scalar(name, value)
    require(
        torch.equal(value, again),
        f"{name} gives another value for the same logits: a loss keeps nothing from call to call, since no checkpoint "
        "has it; a trainer or a penalty may",
    )
    return value


def check_penalty(entry: Entry, *, manager: PluginManager | None = None, **options: Any) -> None:
    """Check that the terms are finite, repeatable scalars, and that images keep their shape.

    Args:
        entry: the penalty.
        manager: the plugins that it is one of, whose generators it may need; default: those installed.
        options: for its config.

    Raises:
        ConformanceError: with what to change.
    """
    config = small_options(entry, options)
    cls = entry.load()
    overridden = [name for name in METHODS if getattr(cls, name) is not getattr(Penalty, name)]
    require(overridden, f"does nothing: override one of {', '.join(METHODS)}")
    terms = []
    for _ in range(2):  # anew, since a penalty may keep a state
        penalty, generator, discriminator = _attached(entry, config, manager)
        terms.append(
            [
                _term(penalty, name, generator, discriminator, detach)
                for name, detach in (("discriminator_term", True), ("generator_term", False))
            ]
        )
        for name, value in penalty.metrics().items():
            require(torch.as_tensor(value).ndim == 0, f'the metric "{name}" must be a scalar')
        penalty.after_discriminator_step(discriminator)
        finite = all(parameter.isfinite().all() for parameter in discriminator.parameters())
        require(finite, "after_discriminator_step leaves weights that are not finite")
    require(
        terms[0] == terms[1],
        "its terms have other values for the same rng: draw with `generator=step.rng`, or runs cannot resume",
    )
    again, _, _ = _attached(entry, config, manager)
    with contract("load_state_dict(state_dict()) of a new one"):
        again.load_state_dict(penalty.state_dict())


def _term(
    penalty: Penalty, name: str, generator: Generator, discriminator: Discriminator, detach: bool
) -> float | None:
    """Return the value of a term, after its backward pass; None for no term."""
    rng = generator_of_seed(0)
    latents, labels = generator.sample_latents(BATCH, rng), labels_for(generator.info)
    condition = condition_for(generator.info)
    real, fake = samples_for(generator.info), generator(latents, **generator.inputs(labels, condition))
    fake = fake.detach() if detach else fake
    with contract("transform_images(images, rng) → images of that shape", real, fake):
        seen = [penalty.transform_images(each, rng) for each in (real, fake)]
    require(seen[0].shape == real.shape, "transform_images changes their shape")
    require(seen[1].requires_grad or detach, "transform_images lets no gradient through")
    step = PenaltyStep(
        generator=generator,
        discriminator=discriminator,
        real=seen[0],
        fake=seen[1],
        unaugmented_real=real,
        unaugmented_fake=fake,
        latents=latents,
        labels=labels,
        condition=condition,
        real_logits=discriminator(seen[0], **discriminator.inputs(labels, condition)),
        fake_logits=discriminator(seen[1], **discriminator.inputs(labels, condition)),
        rng=rng,
        augment=lambda samples: penalty.transform_images(samples, rng),
    )
    with contract(f"{name}(step) → a scalar, or None", *seen, latents, labels):
        term = getattr(penalty, name)(step)
    if term is None:
        return None
    _check_scalar(name, term)
    term.backward()
    return float(term.detach())


def _set_up(entry: Entry, config: Any, generator: Generator, discriminator: Discriminator) -> Penalty:
    parts = {"generator": generator.config, "discriminator": discriminator.config, "penalties.0": config}
    config.check_parts({**parts, "loss": NonSaturatingConfig(), "trainer": GANTrainerConfig(batch_size=BATCH)})
    penalty: Penalty = entry.load()(config, info=generator.info)
    penalty.setup(generator, discriminator)
    return penalty


def _attached(entry: Entry, config: Any, manager: PluginManager | None) -> tuple[Penalty, Generator, Discriminator]:
    """Return the penalty with networks that it accepts: plain ones, or with a generator of its own plugin."""
    reasons = []
    for generator in _generators(entry, config, manager or plugin_manager()):
        discriminator = tiny_discriminator(generator.info)
        try:
            penalty: Penalty = seeded(partial(_set_up, entry, config, generator, discriminator))
        except ValueError as error:
            reasons.append(str(error))
        else:
            return penalty, generator.eval(), discriminator  # noise that it draws itself is not the penalty's
    raise ConformanceError(f"takes neither plain networks nor its plugin's: {reasons[0]}")


def _generators(entry: Entry, config: Any, manager: PluginManager) -> Iterator[Generator]:
    yield tiny_generator(small_info(config))
    for other in manager.registries.generators:
        if other.plugin == entry.plugin:
            config = small_options(other)
            yield seeded(partial(other.load(), config, info=small_info(config)))


def _check_scalar(name: str, value: Tensor) -> None:
    require(isinstance(value, Tensor), f"{name} gives a {type(value).__name__}, without a gradient: give a tensor")
    require(value.ndim == 0, f"{name} must give a scalar tensor: take the mean over the batch")
    require(value.isfinite(), f"{name} is {value.item()} for ordinary values: use softplus rather than log")
    require(value.requires_grad, f"{name} has no gradient: do not detach it")


def check_trainer(entry: Entry, *, manager: PluginManager | None = None, **options: Any) -> None:
    """Check the metrics, that the networks change, by the mean gradient, and an exact round trip of all state.

    Args:
        entry: the trainer.
        manager: the plugins whose losses and networks it may need; default: the installed ones.
        options: of its config.

    Raises:
        ConformanceError: with what to change.
    """
    config = small_options(entry, {"batch_size": BATCH, **options})
    require(
        TrainerConfig().roles.items() <= config.roles.items(),
        'roles must name a "generator" and a "discriminator", the first of their kinds: add to `super().roles`',
    )
    for name, meant in _misspelled(entry.load()):
        require(False, f"its method {name} is not called: {meant}, which it resembles, is a method of its base class")
    manager = manager or plugin_manager()
    trainer = _trainer(entry, config, manager)
    start = _weights(trainer)
    missing = config.roles.keys() - trainer.networks().keys()
    require(not missing, f"networks must give {', '.join(map(repr, sorted(missing)))}: only what it gives is saved")
    for number in range(2):
        batch = _batch(trainer, number)
        with contract(
            f"train_step(batch) and expensive_metrics() → scalars by name, with a generator that `check_parts` accepts "
            f"(latent_dim {trainer.parts.generator.config.latent_dim})",
            *(batch.real, batch.labels, batch.condition),
            info=small_info(config),
        ):
            metrics = trainer.train_step(batch) | trainer.expensive_metrics()
        for name, value in metrics.items():
            require(
                not isinstance(value, float | int),
                f'the metric "{name}" is the number {value}: give a scalar tensor, as a CUDA graph repeats numbers',
            )
            require(
                isinstance(value, Tensor) and value.ndim == 0 and not value.requires_grad,
                f'the metric "{name}" must be a scalar tensor without gradient: give it with .detach()',
            )
            require(value.isfinite(), f'the metric "{name}" is {value.item()}')
    require(metrics, "train_step gives no metrics: the losses at least")
    now = _weights(trainer)
    for network in config.roles:
        changed = any(not torch.equal(now[key], start[key]) for key in now if key.startswith(f"{network}."))
        require(changed, f"two steps do not change the {network}: descend its loss")
    alone = _trainer(entry, config, manager, world=SilentWorld())
    start = _weights(alone)
    alone.train_step(_batch(alone, 0))
    now = _weights(alone)
    own = [name for name, _ in _parameters(alone) if not torch.equal(now[name], start[name])]
    require(
        not own,
        f"moves {', '.join(own[:3])} by the gradient of one process: average gradients over all of them, by "
        "`optimizer_step` or `parts.world.all_reduce_mean_`, or several processes train different networks",
    )
    _check_frozen(_trainer(entry, config, manager))
    resumed = _resumed(entry, config, manager, trainer)
    different = _different_after_a_step(trainer, resumed)
    require(
        not different,
        f"goes on differently after a resume ({', '.join(different[:3])}): put all state into state_dict, and draw "
        f"with parts.rng",
    )


def _check_frozen(trainer: Trainer) -> None:
    """Require that steps leave the first parameter of each network where it takes no gradient."""
    networks = {name: list(trainer.networks()[name].named_parameters()) for name in trainer.config.roles}
    kept = {f"{name}.{found[0][0]}": found[0][1] for name, found in networks.items() if len(found) > 1}
    before = {name: parameter.requires_grad_(False).clone() for name, parameter in kept.items()}
    for number in range(2):
        trainer.train_step(_batch(trainer, number))
    moved = [name for name, parameter in kept.items() if not torch.equal(parameter, before[name])]
    require(
        not moved,
        f"moves {', '.join(moved)}, which is frozen, as init.freeze keeps parameters: in place of requires_grad_, use "
        "`with frozen(network):` of ganzoo.plugin, which leaves those",
    )


def _misspelled(cls: type[Trainer]) -> Iterator[tuple[str, str]]:
    """Yield the methods of a trainer that none of its others calls and that nearly have the name of one of its base."""
    base = next(each for each in (GANTrainer, OptimizingTrainer, Trainer) if issubclass(cls, each))
    functions = dict(getmembers(cls, isfunction))
    for name in functions.keys() - {*dir(base)}:
        called = any(name in function.__code__.co_names for other, function in functions.items() if other != name)
        close = get_close_matches(name, [each for each in dir(base) if callable(getattr(base, each))], 1, cutoff=0.85)
        if close and not called:
            yield name, close[0]


class SilentWorld(World):
    """Two processes, of which the other one's values cancel out: each mean over both is 0."""

    world_size = 2

    def all_reduce_mean_(self, tensors: Sequence[Tensor]) -> None:
        """Set each tensor to 0."""
        for tensor in tensors:
            tensor.zero_()

    def all_reduce_mean(self, value: Tensor) -> Tensor:
        """Return 0, with a gradient."""
        return value * 0


def _parameters(trainer: Trainer) -> Iterator[tuple[str, Tensor]]:
    """Yield the parameters of all networks, by their names in `_weights`."""
    for name in trainer.config.roles:
        for key, parameter in trainer.networks()[name].named_parameters():
            yield f"{name}.{key}", parameter


def _trainer(entry: Entry, config: Any, manager: PluginManager, world: World | None = None) -> Trainer:
    networks, loss = _accepted(entry, config, manager)
    parts = TrainingParts(
        networks=networks,
        loss=loss,
        rng=generator_of_seed(0),
        autocast=nullcontext,
        total_steps=10,
        world=world or World(),
    )
    with contract("__init__(config, *, parts)"):
        trainer: Trainer = entry.load()(config, parts=parts)
    return trainer


def _accepted(entry: Entry, config: Any, manager: PluginManager) -> tuple[dict[str, Generator | Discriminator], Loss]:
    """Build the first networks, each for what `info_for` says, and the first loss that `check_parts` accepts.

    Tiny networks are tried before those of the plugin, and `non_saturating` before other losses.
    """
    info, reasons = small_info(config), []
    infos = {role: config.info_for(role, info) for role in config.roles}
    codes = [each.samples.size for each in infos.values() if isinstance(each.samples, VectorSpec)]
    candidates = []
    for role, kind in config.roles.items():
        tiny = (
            [tiny_generator(infos[role], latent_dim) for latent_dim in (LATENT_DIM, *codes)]
            if kind == "generator"
            else [tiny_discriminator(infos[role], conditional) for conditional in (True, False)]
        )
        own = getattr(manager.registries, f"{kind}s")
        candidates.append([*((each.config, each) for each in tiny), *_own_networks(entry, own, infos[role])])
    usual = manager.registries.losses["non_saturating"]
    losses = [usual, *(each for each in manager.registries.losses if each is not usual)]
    for loss, networks in product(losses, product(*candidates)):
        options = small_options(loss)
        parts = dict(zip(config.roles, (part for part, _ in networks), strict=True))
        try:
            config.check_parts({**parts, "loss": options, "trainer": config})
        except ValueError as error:
            reasons.append(str(error))
        else:
            built = (each if isinstance(each, nn.Module) else seeded(each) for _, each in networks)
            return dict(zip(config.roles, built, strict=True)), loss.load()(options, info=info)
    raise ConformanceError(
        f"check_parts refuses tiny networks and those of its plugin, with every loss: {reasons[0]}. {SMALL_OPTIONS}"
    )


def _own_networks(entry: Entry, registry: Iterable[Entry], info: DatasetInfo) -> Iterator[tuple[Any, Any]]:
    """Yield the options of each network of the plugin that takes such data, and what builds it."""
    has = {"labels": info.labels is not None, "condition": info.condition is not None}
    for other in registry:
        if other.plugin == entry.plugin:
            with suppress(ValueError, ConformanceError):
                options = small_options(other)
                options.check_info(info)
                if all(has[each] for each in options.uses):
                    yield options, partial(other.load(), options, info=info)


def _batch(trainer: Trainer, number: int) -> Batch:
    """Return real data of the minibatches of a step."""
    info = small_info(trainer.config)
    count = BATCH * trainer.config.batches_per_step
    return Batch(
        samples_for(info, count, seed=10 + number), labels_for(info, count), condition_for(info, count, 20 + number)
    )


def _weights(trainer: Trainer) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value.clone()
        for name, network in trainer.networks().items()
        for key, value in network.state_dict().items()
    }


def _different_after_a_step(trainer: Trainer, other: Trainer) -> list[str]:
    """Return the names of the weights that differ after each has taken the step of the same batch."""
    for each in (trainer, other):
        each.train_step(_batch(each, 2))
    ours, theirs = _weights(trainer), _weights(other)
    return [name for name in ours if not torch.equal(ours[name], theirs[name])]


def _resumed(entry: Entry, config: Any, manager: PluginManager, trainer: Trainer) -> Trainer:
    """Return a new trainer with the checkpointed state of another."""
    buffer = io.BytesIO()
    try:
        torch.save(trainer.state_dict(), buffer)
        buffer.seek(0)
        state = torch.load(buffer, weights_only=True)
    except Exception as error:
        raise ConformanceError(
            f"state_dict holds more than tensors, numbers, text, lists and dictionaries: {error}"
        ) from error
    other = _trainer(entry, config, manager)
    for name, network in trainer.networks().items():
        other.networks()[name].load_state_dict(network.state_dict())
    other.load_state_dict(state)
    other.parts.rng.set_state(trainer.parts.rng.get_state())
    return other


def check_optimizer(entry: Entry, **options: Any) -> None:
    """Check that it lowers a loss, goes on from a saved state to the bit, and takes no step where `found_inf` is 1.

    Raises:
        ConformanceError: with what to change.
    """
    config: OptimizerConfig = small_options(entry, options)
    network, optimizer = _regression(config)
    require(isinstance(optimizer, Optimizer), "build must give a torch.optim.Optimizer")
    for name, field in type(config).model_fields.items():
        require(
            not takes_schedule(field.annotation) or all(name in group for group in optimizer.param_groups),
            f'{name} takes a schedule, and param_groups have no "{name}", where it is set at each step: name the '
            "option as the key, or make it a number",
        )
    rates = {float(group["lr"]) for group in optimizer.param_groups}
    require(rates == {config.lr}, "every group must begin with the rate `lr`, by which trainers set it")
    before = _regression_loss(network).item()
    for _ in range(10):
        _regression_step(network, optimizer)
    require(_regression_loss(network).item() < before, "ten steps do not lower the loss of a regression")
    trained = GANTrainerConfig(batch_size=BATCH, generator_optimizer=config, discriminator_optimizer=config)
    manager = plugin_manager()
    of_trainer = manager.registries.trainers["adversarial"]
    trainer = _trainer(of_trainer, trained, manager)
    for number in range(10):  # some optimizers do more every few steps
        trainer.train_step(_batch(trainer, number))
    different = _different_after_a_step(trainer, _resumed(of_trainer, trained, manager, trainer))
    require(not different, "goes on differently from a saved state: keep all of it in `self.state` or `param_groups`")
    if getattr(optimizer, "_step_supports_amp_scaling", False):
        weights = [parameter.detach().clone() for parameter in network.parameters()]
        optimizer.found_inf = torch.ones(())  # type: ignore[attr-defined]
        _regression_step(network, optimizer, torch.nan)
        state = (value for values in optimizer.state.values() for value in values.values() if isinstance(value, Tensor))
        kept = all(map(torch.equal, network.parameters(), weights)) and all(value.isfinite().all() for value in state)
        require(kept, "takes a step where found_inf is 1, though _step_supports_amp_scaling is set")


def _regression(config: OptimizerConfig) -> tuple[nn.Module, Optimizer]:
    network = seeded(lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 1)))
    network.to(memory_format=torch.channels_last)
    return network, config.build(network.parameters())


def _regression_loss(network: nn.Module) -> Tensor:
    images = torch.randn(16, 2, 4, 4, generator=generator_of_seed(1))
    predicted: Tensor = network(images).flatten()
    return (predicted - images.mean((1, 2, 3)) - 1).square().mean()


def _regression_step(network: nn.Module, optimizer: Optimizer, factor: float = 1.0) -> None:
    optimizer.zero_grad()
    (_regression_loss(network) * factor).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
