"""The command line: one command is one call; imports stand inside the commands, so that --help answers at once."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from zerosum import permission
from zerosum.cli import console
from zerosum.cli.console import answer, follows, tell
from zerosum.errors import UsageError, WorkerLost, named


class Commands(TyperGroup):
    """The commands, of which none is interrupted without a word."""

    def invoke(self, ctx: Any) -> Any:  # noqa: D102
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise console.Interrupted from None


app = typer.Typer(
    cls=Commands,
    help="Train generative adversarial networks on your own data, and know whether it worked.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Recipe = Annotated[str | None, typer.Argument(help="A name (see `zerosum list recipes`) or a .toml file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Exactly one line of JSON on standard output.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps.")]
DataRoot = Annotated[str | None, typer.Option(help="Where data sets lie; else $ZEROSUM_DATA, else the cache folder.")]
Force = Annotated[bool, typer.Option("--force", help="Write over what is there; a run's own files never.")]
Trust = Annotated[
    bool, typer.Option("--trust", help="Use code and data that the run names, though it was not made here.")
]
Set = Annotated[list[str] | None, typer.Option("--set", help="A setting: section.key=value. May be repeated.")]


@app.command()
def train(
    recipe: Recipe = None,
    data: Annotated[
        str | None, typer.Option(help="A .npy, .npz or .csv file, a folder of pictures, or a data set's name.")
    ] = None,
    data_root: DataRoot = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds in all.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Wall-clock limit, summed over resumes.")] = None,
    seed: Annotated[int | None, typer.Option(help="Everything random follows from it.")] = None,
    device: Device = None,
    precision: Annotated[str | None, typer.Option(help="auto, bfloat16, float32 or float64.")] = None,
    out: Annotated[str | None, typer.Option(help="The run folder; runs/NAME if absent.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Erase the run that is there and start over.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Play in a folder that holds other things, too; they stay.")
    ] = False,
    processes: Annotated[int | None, typer.Option(help="Processes on this machine that share every batch.")] = None,
    accumulate: Annotated[
        int | None, typer.Option(help="Passes in one step: as with a batch so many times as large.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="finished: stop when the samples no longer get better.", metavar="finished")
    ] = None,
    set_: Set = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Play two rounds, write nothing, say what to expect.")
    ] = False,
    trust: Annotated[bool, typer.Option("--trust", help="Import code of your own in a dry run, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a recipe, or take up a run where it was left: the same command resumes."""
    from zerosum import engine, session
    from zerosum.cli.progress import with_bar, with_events
    from zerosum.run.folder import silent
    from zerosum.training import loop

    look_under(data_root)
    finished = session.asks_until_finished(until)
    overrides = session.overrides_of(data, rounds, minutes, seed, device, precision, processes, accumulate) + (
        set_ or []
    )
    if dry_run:
        from zerosum.training.dry_run import rehearse

        with permission.granted(code=Path.cwd() if trust else None, paths=True):
            facts = rehearse(*session.settings_of(recipe, overrides, tell), tell)
        answer(facts, as_json, show_rehearsal)
        return
    if trust:
        raise UsageError("--trust belongs to --dry-run: a training imports what its recipe names")
    with permission.to_train():
        settings, opened = session.settings_of(recipe, overrides, tell)
    if settings.train.processes > 1 and not engine.under_torchrun():
        from zerosum.cli.launch import launch

        raise typer.Exit(launch(settings.train.processes, sys.argv[1:]))
    with engine.join_world(settings.train.timeout, settings.train.device) as world:
        folder = session.folder_of(settings, out, world)
        say = console.once(tell) if world.is_main else silent
        moments = loop.fit(
            settings, folder, data=opened, fresh=fresh, force=force, until_finished=finished, say=say, world=world
        )
        if world.is_main:
            moments = with_events(with_bar(moments, settings.train.rounds, as_json), folder.events, tell)
        played = sum(1 for _ in moments)
    if world.is_main:
        run = session.Run(folder, trusted=True, say=say)
        run.conclude(say)
        answer(run.summary(played), as_json, show_trained)


@app.command()
def sample(
    run: Annotated[str, typer.Argument(help="A run folder, or its name under runs/.")],
    n: Annotated[int, typer.Option("-n", help="How many.")] = 64,
    seed: Annotated[int, typer.Option(help="The same seed gives the same samples.")] = 0,
    label: Annotated[str | None, typer.Option(help="The class to ask for.")] = None,
    out: Annotated[str, typer.Option(help="x.png, x.npz, x.csv, walk.gif or a folder.")] = "samples.png",
    force: Force = False,
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Make samples with a trained generator; a .gif walks through n latents."""
    from zerosum import session

    source = opened(run, trust)
    place = session.refuse_place(source, out, force)
    film = place.suffix.lower() == ".gif"
    samples = source.walk(n, seed, label) if film else source.sample(n, seed, label)
    if follows():
        return
    path = samples.save(place, force=force)
    facts = {
        "path": str(path), "n": len(samples), "seed": seed, "shape": list(samples.array.shape), "round": samples.round,
    }  # fmt: skip
    answer(facts, as_json, lambda facts: f"{facts['n']} samples in {facts['path']}")


@app.command()
def evaluate(
    run: Annotated[str, typer.Argument(help="A run folder, or its name under runs/.")],
    n: Annotated[int | None, typer.Option("-n", help="Samples; as many as held-out rows if absent.")] = None,
    features: Annotated[
        str | None,
        typer.Option(help="pixels, classifier, inception or module:callable; what suits the data if absent."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same samples.")] = 0,
    classes: Annotated[
        bool, typer.Option("--classes", help="Instead: the Frechet distance of each class of the data to each.")
    ] = False,
    data: Annotated[str | None, typer.Option(help="Where the run's data lies, if not where it says.")] = None,
    data_root: DataRoot = None,
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Measure a run's samples, beside what real data and noise score."""
    from zerosum.cli.evaluate_text import class_square, table
    from zerosum.evaluation import facts

    look_under(data_root)
    if classes:
        found = opened(run, trust).classes(features, data)
        square = {"classes": list(found.names), "frechet": found.distance.tolist(), "sees": found.separates_classes}
        answer(square, as_json, lambda _: class_square(found))
        return
    rows = opened(run, trust).evaluate(n, features, seed, data)
    answer({"metrics": [facts(row) for row in rows]}, as_json, lambda _: table(rows))


@app.command()
def diagnose(
    run: Annotated[str, typer.Argument(help="A run folder, or its name under runs/.")],
    as_json: AsJson = False,
) -> None:
    """Say in plain words whether a run is healthy, how one can tell, and which setting to change."""
    from zerosum import health
    from zerosum.cli.diagnose_text import page
    from zerosum.run import open_folder

    verdicts = health.diagnose_run(open_folder(run), tell)
    answer({"verdicts": [verdict.facts() for verdict in verdicts]}, as_json, lambda _: page(verdicts))


@app.command()
def report(
    run: Annotated[str, typer.Argument(help="A run folder, or its name under runs/.")],
    out: Annotated[str | None, typer.Option(help="Another file; report.html in the run folder if absent.")] = None,
    data_root: DataRoot = None,
    force: Force = False,
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Write a run's report: one HTML file with verdicts, samples, curves and metrics, which needs nothing else."""
    from time import perf_counter

    from zerosum import session

    look_under(data_root)
    began = perf_counter()
    source = opened(run, trust)
    place = None if out is None else session.refuse_place(source, out, force)
    path = source.report(place)
    facts = {"path": str(path), "seconds": round(perf_counter() - began, 2)}
    answer(facts, as_json, lambda facts: f"report:   {facts['path']}\nwritten in {facts['seconds']:.1f} s")


@app.command()
def theory(
    names: Annotated[
        list[str] | None, typer.Argument(help="Claims or numbers of groups; all that need no training if absent.")
    ] = None,
    trained: Annotated[bool, typer.Option("--trained", help="Those for which networks are trained, too.")] = False,
    figures: Annotated[Path | None, typer.Option(help="Draw the figures into this folder, too.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check every claim about the game: its closed form against what is measured."""
    from zerosum.cli.theory_text import facts, measure, table
    from zerosum.lab import claims

    verdicts = measure(claims.choose(names or (), trained), as_json)
    if figures:
        from zerosum.plots import import_matplotlib

        import_matplotlib()  # whatever display the environment asks it for
        from zerosum.lab.figures import draw_all

        for path in draw_all(figures):
            tell(f"drawn: {path}")
    answer(facts(verdicts), as_json, lambda _: table(verdicts))
    raise typer.Exit(0 if all(verdict.holds for verdict in verdicts) else 1)


@app.command("list")
def list_(
    what: Annotated[
        str, typer.Argument(help="recipes, losses, penalties, nets, datasets, optimizers, claims or runs.")
    ] = "recipes",
    as_json: AsJson = False,
) -> None:
    """Say what there is."""
    from zerosum.cli.listing import catalogue

    answer(catalogue(what), as_json, show_rows)


@app.command()
def show(
    recipe: Annotated[str, typer.Argument(help="A name or a .toml file.")], set_: Set = None, as_json: AsJson = False
) -> None:
    """Print a recipe whole, with every default filled in."""
    from zerosum import config, session

    settings, _ = session.settings_of(recipe, set_ or [], code=False)
    answer(settings.model_dump(mode="json"), as_json, lambda _: config.dumps(settings).rstrip())


@app.command()
def copy(
    recipe: Annotated[str, typer.Argument(help="A name.")],
    file: Annotated[Path, typer.Argument(help="Where to: a new .toml file.")],
    as_json: AsJson = False,
) -> None:
    """Copy a recipe into a file of your own, to edit and to train."""
    from zerosum import config
    from zerosum.files import reason, write

    text = config.recipe_text(recipe)
    if file.suffix != ".toml":
        raise UsageError(f"{file}: the name of a recipe's file ends in .toml")
    try:
        if os.path.lexists(file):
            raise UsageError(f"{named(file)} is there already; give another name")
        write(file, text.encode())
    except (OSError, ValueError) as error:  # a name with a zero in it is a ValueError
        why = reason(error) if isinstance(error, OSError) else error
        raise UsageError(f"cannot write {named(file)}: {why}") from None
    answer(
        {"path": str(file)}, as_json, lambda facts: f"{facts['path']}: edit it, then `zerosum train {facts['path']}`"
    )


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what this machine is and can do."""
    from zerosum.cli.listing import examine

    answer(examine(), as_json, show_facts)


def opened(run: str, trust: bool) -> Any:
    """A run that a command reads: what is damaged in it is told on standard error."""
    from dataclasses import replace

    from zerosum import session

    return replace(session.load(run, trust=trust), say=console.once(tell))


def look_under(data_root: str | None) -> None:
    """Say where data sets lie, if the user does."""
    if data_root:
        from zerosum.data.mnist import VARIABLE

        os.environ[VARIABLE] = data_root


def show_trained(facts: dict[str, Any]) -> str:
    """What came of a training."""
    lines = [
        f"{facts['rounds']:,} rounds are played, in {facts['seconds']:.1f} s"
        if facts["played"]
        else f"finished: all {facts['rounds']:,} rounds were played before"
    ]
    if facts["modes"]:
        lines.append(
            "modes found: {found} of {of}; {within_3_sigma:.1%} of {samples:,} samples within 3 sigma of one".format(
                **facts["modes"]
            )
        )
    lines.append(facts["verdict"])
    lines += [f"run:      {facts['run']}", f"samples:  {facts['picture']}",
              f"report:   {facts['report']}",
              f"next:     zerosum sample {facts['run']} -n 100 --out samples.png"]  # fmt: skip
    return "\n".join(lines)


def show_rehearsal(facts: dict[str, Any]) -> str:
    """What a dry run found."""
    return f"{facts['config'].rstrip()}\n\n" + show_facts({key: facts[key] for key in facts if key != "config"})


def show_rows(rows: list[dict[str, Any]]) -> str:
    """A name and a sentence in each line."""
    names = [named(row["name"]) for row in rows]
    width = max(map(len, names), default=0)
    return "\n".join(f"{name:<{width}}  {row['about']}" for name, row in zip(names, rows, strict=True)) or "none"


def show_facts(facts: dict[str, Any]) -> str:
    """A fact in each line."""
    width = max(map(len, facts))
    return "\n".join(f"{name.replace('_', ' '):<{width}}  {value}" for name, value in facts.items())


def main() -> None:
    """Run the command line; a user's mistake ends in a sentence and an exit code, never in a traceback."""
    console.open_streams()
    code = console.run(lambda: app(standalone_mode=False), sys.argv)
    if code == WorkerLost.exit_code:
        from zerosum.cli.launch import leave

        leave(code)
    sys.exit(code)
