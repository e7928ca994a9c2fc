"""The commands. Imports are inside the functions, so that --help stays fast."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from zerosum import permission
from zerosum.cli import console, text
from zerosum.cli.console import is_secondary, notify, print_result
from zerosum.errors import UsageError, WorkerLost, named, typed


class CommandGroup(TyperGroup):
    """Command group that turns Ctrl-C into `console.Interrupted`, so that every command reports it."""

    def invoke(self, ctx: Any) -> Any:  # noqa: D102
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise console.Interrupted from None


app = typer.Typer(
    cls=CommandGroup,
    help="Train generative adversarial networks on your own data, and know whether it worked.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Recipe = Annotated[str | None, typer.Argument(help="A name (see `zerosum list recipes`) or a .toml file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Exactly one line of JSON on standard output.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps.")]
DataRoot = Annotated[str | None, typer.Option(help="Data set folder; else $ZEROSUM_DATA, else the cache folder.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite existing files, but never a run's own.")]
Trust = Annotated[
    bool, typer.Option("--trust", help="Use code and data that the run names although it was not made here.")
]
Set = Annotated[list[str] | None, typer.Option("--set", help="A setting: section.key=value. May be repeated.")]


@app.command()
def train(
    recipe: Recipe = None,
    data: Annotated[
        str | None, typer.Option(help="A .npy, .npz or .csv file, a folder of pictures, or a data set's name.")
    ] = None,
    data_root: DataRoot = None,
    rounds: Annotated[int | None, typer.Option(help="Total number of rounds.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Wall-clock limit, summed over resumes.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all random numbers.")] = None,
    device: Device = None,
    precision: Annotated[str | None, typer.Option(help="auto, bfloat16, float32 or float64.")] = None,
    out: Annotated[str | None, typer.Option(help="The run folder; runs/NAME if absent.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Erase the run that is there and start over.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also train in a folder that holds other files; they are kept.")
    ] = False,
    processes: Annotated[int | None, typer.Option(help="Processes on this machine that share every batch.")] = None,
    accumulate: Annotated[
        int | None, typer.Option(help="Micro-batches per optimizer step; their gradients add up.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="finished: stop when the samples no longer get better.", metavar="finished")
    ] = None,
    set_: Set = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Play two rounds, write nothing, estimate time and memory.")
    ] = False,
    trust: Annotated[bool, typer.Option("--trust", help="Also import your own code in a dry run.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a recipe, or resume its run: the same command continues where it stopped."""
    from dataclasses import replace

    from zerosum import session
    from zerosum.cli.progress import with_progress, with_tensorboard

    set_data_root(data_root)
    session.check_until(until)
    options = session.option_overrides(data, rounds, minutes, seed, device, precision, processes, accumulate)
    overrides = [*options, *(set_ or [])]
    if dry_run:
        from zerosum.training.dry_run import perform_dry_run

        with permission.granted(code=Path.cwd() if trust else None, paths=True):
            facts = perform_dry_run(*session.load_settings(recipe, overrides, notify), notify)
        print_result(facts, as_json, text.format_dry_run)
        return
    if trust:
        raise UsageError("--trust belongs to --dry-run: a training imports what its recipe names")
    with permission.to_train():
        resolved, opened = session.load_settings(recipe, overrides, notify)
    train = resolved.config.train
    if session.needs_processes(resolved.config):
        from zerosum.cli.launch import launch

        raise typer.Exit(launch(train.processes, sys.argv[1:]))
    played, say = 0, console.without_repeats(notify)

    def watch(records: Any, folder: Any) -> Any:
        nonlocal played
        shown = with_tensorboard(with_progress(records, train.rounds, as_json), folder.events, notify)
        for played, record in enumerate(shown, 1):  # noqa: B007  counted for the summary
            yield record

    run = session.fit(resolved, opened, out=out, fresh=fresh, force=force, until=until, say=say, watch=watch)
    if not is_secondary():
        print_result(replace(run, say=say).summary(played), as_json, text.format_training)


@app.command()
def sample(
    run: Annotated[str, typer.Argument(help="A run folder, or its name under runs/.")],
    n: Annotated[int, typer.Option("-n", help="How many.")] = 64,
    seed: Annotated[int, typer.Option(help="The same seed gives the same samples.")] = 0,
    label: Annotated[str | None, typer.Option(help="The class to generate.")] = None,
    out: Annotated[str, typer.Option(help="x.png, x.npz, x.csv, walk.gif or a folder.")] = "samples.png",
    force: Force = False,
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Make samples with a trained generator; a .gif walks through n latents."""
    from zerosum import results

    source = open_run(run, trust)
    target = results.check_output_path(source, out, force)
    as_gif = target.suffix.lower() == ".gif"
    samples = source.walk(n, seed, label) if as_gif else source.sample(n, seed, label)
    if is_secondary():
        return
    path = samples.save(target, force=force)
    facts = {
        "path": str(path), "n": len(samples), "seed": seed, "shape": list(samples.array.shape), "round": samples.round,
    }  # fmt: skip
    print_result(facts, as_json, lambda facts: f"{facts['n']} samples in {named(facts['path'])}")


@app.command()
def evaluate(
    run: Annotated[str, typer.Argument(help="A run folder, or its name under runs/.")],
    n: Annotated[int | None, typer.Option("-n", help="Samples; as many as held-out rows if absent.")] = None,
    features: Annotated[
        str | None,
        typer.Option(help="pixels, classifier, inception or module:callable; chosen by the kind of data if absent."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same samples.")] = 0,
    classes: Annotated[
        bool, typer.Option("--classes", help="Instead: the Frechet distances between the data's classes.")
    ] = False,
    data: Annotated[str | None, typer.Option(help="Path of the run's data if it has moved.")] = None,
    data_root: DataRoot = None,
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Measure a run's samples, beside the same metrics for real data and for noise."""
    from zerosum.cli.evaluate_text import format_class_table, format_table
    from zerosum.metric_rows import row_to_json

    set_data_root(data_root)
    if classes:
        found = open_run(run, trust).classes(features, data)
        square = {"classes": list(found.names), "frechet": found.distance.tolist(), "sees": found.separates_classes}
        print_result(square, as_json, lambda _: format_class_table(found))
        return
    at_round, rows = open_run(run, trust).evaluate_newest(n, features, seed, data)
    facts = {"round": at_round, "metrics": [row_to_json(row) for row in rows]}
    print_result(facts, as_json, lambda _: f"round {at_round:,}\n{format_table(rows)}")


@app.command()
def diagnose(
    run: Annotated[str, typer.Argument(help="A run folder, or its name under runs/.")],
    as_json: AsJson = False,
) -> None:
    """Say whether a run is healthy, on what evidence, and which setting to change."""
    from zerosum import health
    from zerosum.cli.diagnose_text import format_verdicts
    from zerosum.run import open_folder

    verdicts = health.diagnose_run(open_folder(run), notify)
    print_result({"verdicts": [verdict.facts() for verdict in verdicts]}, as_json, lambda _: format_verdicts(verdicts))


@app.command()
def report(
    run: Annotated[str, typer.Argument(help="A run folder, or its name under runs/.")],
    out: Annotated[str | None, typer.Option(help="Output file; report.html in the run folder if absent.")] = None,
    data_root: DataRoot = None,
    force: Force = False,
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Write a run's report: one self-contained HTML file with verdicts, samples, curves and metrics."""
    from time import perf_counter

    from zerosum import results

    set_data_root(data_root)
    began = perf_counter()
    source = open_run(run, trust)
    target = None if out is None else results.check_output_path(source, out, force)
    path = source.report(target)
    facts = {"path": str(path), "seconds": round(perf_counter() - began, 2)}
    print_result(facts, as_json, lambda facts: f"report:   {named(facts['path'])}\nwritten in {facts['seconds']:.1f} s")


@app.command()
def theory(
    names: Annotated[
        list[str] | None, typer.Argument(help="Claims or group numbers; all that train no network if absent.")
    ] = None,
    trained: Annotated[bool, typer.Option("--trained", help="Also check the claims that train networks.")] = False,
    figures: Annotated[Path | None, typer.Option(help="Also draw the figures into this folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check every claim of the theory: its closed form against a measurement."""
    from zerosum.cli.theory_text import format_table, run_claims, verdicts_to_json
    from zerosum.lab import claims

    verdicts = run_claims(claims.choose(names or (), trained), as_json)
    if figures:
        from zerosum.plots import import_matplotlib

        import_matplotlib()  # whichever backend $MPLBACKEND names
        from zerosum.lab.figures import draw_all

        for path in draw_all(figures):
            notify(f"drawn: {path}")
    print_result(verdicts_to_json(verdicts), as_json, lambda _: format_table(verdicts))
    raise typer.Exit(0 if all(verdict.holds for verdict in verdicts) else 1)


@app.command("list")
def list_(
    what: Annotated[
        str, typer.Argument(help="recipes, losses, penalties, nets, datasets, optimizers, claims or runs.")
    ] = "recipes",
    as_json: AsJson = False,
) -> None:
    """List recipes, losses, networks, data sets, runs and more."""
    from zerosum.cli.listing import list_rows

    print_result(list_rows(what), as_json, text.format_rows)


@app.command()
def show(
    recipe: Annotated[str, typer.Argument(help="A name or a .toml file.")], set_: Set = None, as_json: AsJson = False
) -> None:
    """Print a whole recipe, with every default filled in."""
    from zerosum import config
    from zerosum.resolved import fill_options

    settings = fill_options(config.load(recipe, set_ or []))
    print_result(settings.model_dump(mode="json"), as_json, lambda _: config.dumps(settings).rstrip())


@app.command()
def copy(
    recipe: Annotated[str, typer.Argument(help="A name.")],
    file: Annotated[Path, typer.Argument(help="The new .toml file.")],
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
    except (OSError, ValueError) as error:  # a name with a NUL character is a ValueError
        why = reason(error) if isinstance(error, OSError) else error
        raise UsageError(f"cannot write {named(file)}: {why}") from None
    says = f"{named(file)}: edit it, then `zerosum train {typed(file)}`"
    print_result({"path": str(file)}, as_json, lambda _: says)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Describe this machine: versions, processor, memory, disk, device."""
    from zerosum.cli.listing import machine_facts

    print_result(machine_facts(), as_json, text.format_facts)


def open_run(run: str, trust: bool) -> Any:
    """Load the run that a command reads; messages about damaged files go to standard error."""
    from dataclasses import replace

    from zerosum import results

    return replace(results.load(run, trust=trust), say=console.without_repeats(notify))


def set_data_root(data_root: str | None) -> None:
    """Set the folder of the data sets if --data-root is given."""
    if data_root:
        from zerosum.data.mnist import VARIABLE

        os.environ[VARIABLE] = data_root


def main() -> None:
    """Run the command line; a user's mistake ends in a message and an exit code, never in a traceback."""
    console.open_standard_streams()
    code = console.run_command(lambda: app(standalone_mode=False), sys.argv)
    if code == WorkerLost.exit_code:
        from zerosum.cli.launch import exit_now

        exit_now(code)
    sys.exit(code)
