"""Who hurts whom: ratios, their words, and tenants that did not come to their end."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.estimate import Interval, slot_medians
from analysis.isolation import Harm, Isolation, isolation, sentences
from analysis.load import Loaded, load
from analysis.plot_isolation import _depth
from analysis.report import write_report
from tests.synthetic import ARMS, campaign

FEW = {name: ARMS[name] for name in ("process", "crun", "uml")}
#: How much slower the tenant is beside a neighbour, but for a per cent from block to block.
RATIOS = {"process": (2.0, 9.0), "crun": (2.1, 1.5), "uml": (1.0, None)}


def measured(record: dict[str, Any]) -> None:
    if record["arm"] not in RATIOS:
        return
    cpu, fork = RATIOS[record["arm"]]
    wobble = 1 + ((record["block"] % 3) - 1) / 100
    record["samples"] = [
        {"metric": "isolation.alone", "values": [0.05], "unit": "second", "better": "lower"},
        {"metric": "isolation.cpu", "values": [cpu * wobble], "unit": "ratio", "better": "lower"},
    ]
    if fork is None:
        record["unfinished"] = {"isolation.fork": "sh did not end within the time limit"}
    else:
        record["samples"].append(
            {"metric": "isolation.fork", "values": [fork * wobble], "unit": "ratio", "better": "lower"}
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return campaign(tmp_path_factory.mktemp("isolation") / "a", blocks=9, arms=FEW, ramp=0, change=measured)


@pytest.fixture(scope="module")
def found(folder: Path) -> tuple[Loaded, Isolation]:
    loaded = load([folder])
    return loaded, isolation(loaded, slot_medians(loaded.samples))


def test_the_ratio_of_each_arm_and_neighbour(found: tuple[Loaded, Isolation]) -> None:
    harm = found[1]
    assert (harm.kinds, harm.arms) == (["cpu", "fork"], ["process", "crun", "uml"])
    cell = harm.harms["crun", "cpu"]
    assert cell.ratio
    assert cell.ratio.point == pytest.approx(2.1, rel=0.01)
    assert cell.ratio.low < cell.ratio.point < cell.ratio.high
    assert (cell.text, cell.unfinished, cell.slots) == ("2.10×", 0, 9)
    assert cell.detail == "[2.08,\N{NO-BREAK SPACE}2.12]"
    assert harm.seconds["uml"] == 0.05


def test_a_tenant_that_never_came_to_its_end(found: tuple[Loaded, Isolation]) -> None:
    cell = found[1].harms["uml", "fork"]
    assert (cell.ratio, cell.unfinished, cell.slots, cell.text) == (None, 9, 9, "did not finish")


def test_what_is_told_of_it_and_what_is_not_told_from_nothing(found: tuple[Loaded, Isolation]) -> None:
    cpu, fork = (text.replace("\N{NO-BREAK SPACE}", " ") for text in sentences(*found))
    assert cpu.startswith("Beside busy loops, ")
    assert "a request takes 1.0 to 2.1 times as long as alone" in cpu
    assert "that is the fair share of 2.0× in process" in cpu
    assert "more than its fair share in crun (2.1×)" in cpu
    assert "less than its fair share in uml (1.0×)" in cpu
    assert fork.startswith("Beside a fork bomb, ")
    assert fork.endswith("did not finish.")


def harm(point: float, low: float, high: float) -> Harm:
    return Harm("cpu", "crun", Interval(point, low, high, 9), 0, 9, 2.0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            harm(3.4, 0.89, 9.6),
            "takes 3.4 times as long as alone in crun; not told from its fair share in crun (3.4× [0.89, 9.6])",
        ),
        (harm(2.01, 1.9, 2.1), "that is the fair share of 2.0× in crun"),
        (harm(2.1, 2.0, 2.3), "not told from its fair share in crun (2.1× [2.0, 2.3])"),
        (harm(3.4, 3.3, 3.6), "more than its fair share in crun (3.4×)"),
        (harm(2.04, 2.01, 2.5), "more than its fair share in crun (2.04×)"),
        (harm(3.4, math.nan, math.nan), "without an interval in crun"),
    ],
)
def test_what_is_wide_is_not_called_the_fair_share(found: tuple[Loaded, Isolation], given: Harm, said: str) -> None:
    loaded, isolation = found
    (text,) = sentences(loaded, replace(isolation, kinds=["cpu"], arms=["crun"], harms={("crun", "cpu"): given}))
    text = text.replace("\N{NO-BREAK SPACE}", " ")
    assert said in text
    assert ("that is" in text) == ("that is" in said)


def of_arms(found: tuple[Loaded, Isolation], harms: dict[str, Harm], fair: float) -> str:
    given = {(arm, "cpu"): replace(harm, arm=arm, fair=fair) for arm, harm in harms.items()}
    made = replace(found[1], kinds=["cpu"], arms=list(harms), harms=given, fair=fair)
    (text,) = sentences(found[0], made)
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_all_arms_are_all_of_them(found: tuple[Loaded, Isolation]) -> None:
    near, never = harm(2.01, 1.95, 2.05), Harm("cpu", "uml", None, 9, 9)
    assert "that is the fair share of 2.0× in all arms" in of_arms(found, {"process": near, "crun": near}, 2.0)
    told = of_arms(found, {"process": near, "crun": near, "uml": never}, 2.0)
    assert "that is the fair share of 2.0× in process and crun; uml did not finish" in told


@pytest.mark.parametrize(
    "ends", [(2.01, 1.95, 2.05), (3.4, 3.3, 3.6), (1.2, 1.1, 1.3), (3.4, 0.9, 9.6), (3.4, math.nan, math.nan)]
)
def test_slots_in_which_the_tenant_did_not_finish_are_always_told(
    found: tuple[Loaded, Isolation], ends: tuple[float, float, float]
) -> None:
    partly = replace(harm(*ends), unfinished=7, slots=17)
    told = of_arms(found, {"process": partly, "crun": partly}, 2.0)
    assert "all arms" not in told
    assert told.count("did not finish in 7 of 17") == 2


def test_harm_that_was_measured_is_not_called_unmeasurable(found: tuple[Loaded, Isolation]) -> None:
    told = of_arms(found, {"process": harm(1.02, 1.01, 1.03), "crun": harm(1.02, 1.01, 1.03)}, 1.0)
    assert "that is no harm to speak of in all arms" in told


def test_the_report_shows_it_as_a_map_and_as_a_table(folder: Path) -> None:
    written = write_report([folder])
    assert folder / "plots/isolation.png" in written
    html, text = ((folder / f"report.{kind}").read_text() for kind in ("html", "md"))
    section = html.partition('<section id="isolation">')[2].partition("</section>")[0]
    assert '<figure id="chart-isolation">' in section
    assert ">DNF<" in section
    assert section.count("<tr>") == 4
    assert "Beside a fork bomb" in section
    assert "Beside a fork bomb" in text
    assert "| 9.00×" in text


def test_a_campaign_without_neighbours_says_nothing_of_them(tmp_path: Path) -> None:
    folder = campaign(tmp_path / "a", blocks=2, arms=FEW)
    write_report([folder])
    assert 'id="isolation"' not in (folder / "report.html").read_text()


def test_a_campaign_of_neighbours_alone_is_summed_up_by_them(folder: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(folder, alone)
    plan = json.loads((alone / "plan.json").read_text())
    plan["measures"] = {name: {arm: ["isolation"] for arm in FEW} for name in plan["scenarios"]}
    (alone / "plan.json").write_text(json.dumps(plan))
    lines = [json.loads(line) for line in (alone / "journal.jsonl").read_text().splitlines()]
    kept = [line for line in lines if line["arm"] in FEW]
    (alone / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept))
    write_report([alone])
    told = (alone / "report.md").read_text()
    assert "No instance of any arm" not in told
    assert "\n- Beside busy loops, " in told
    assert "| Teardown |" not in told


def with_cpus(folder: Path, given: Path, cpus: int) -> Path:
    shutil.copytree(given, folder)
    plan, facts = (json.loads((folder / name).read_text()) for name in ("plan.json", "facts.json"))
    plan["envelope"]["cpus"] = cpus
    facts["cage"]["cpus"] = f"0-{cpus - 1}" if cpus > 1 else "0"
    (folder / "plan.json").write_text(json.dumps(plan))
    (folder / "facts.json").write_text(json.dumps(facts))
    return folder


@pytest.mark.parametrize(("cpus", "fair"), [(1, 2.0), (2, 1.0), (4, 1.0)])
def test_the_fair_share_is_the_envelopes(folder: Path, tmp_path: Path, cpus: int, fair: float) -> None:
    loaded = load([with_cpus(tmp_path / "a", folder, cpus)])
    harm = isolation(loaded, slot_medians(loaded.samples))
    assert (harm.cpus, harm.fair) == (cpus, fair)
    alone = harm.harms["process", "cpu"]  # takes twice as long
    assert alone.beyond == pytest.approx(2.0 / fair, rel=0.01)
    assert alone.side == (0 if fair == 2.0 else 1)


def test_cages_on_fewer_cpus_than_the_envelope_share_those(folder: Path, tmp_path: Path) -> None:
    made = with_cpus(tmp_path / "a", folder, 2)
    facts = json.loads((made / "facts.json").read_text())
    facts["cage"]["cpus"] = "1"
    (made / "facts.json").write_text(json.dumps(facts))
    loaded = load([made])
    assert isolation(loaded, slot_medians(loaded.samples)).fair == 2.0


def test_the_map_is_white_at_the_fair_share(found: tuple[Loaded, Isolation]) -> None:
    harms = found[1].harms
    assert _depth(harms["process", "cpu"]) == pytest.approx(0.0, abs=0.01)
    assert _depth(harms["process", "fork"]) > 0.9  # nine times as long is far beyond
    assert _depth(harms["uml", "cpu"]) < -0.3  # less than its share
    assert _depth(harms["uml", "fork"]) == 1.0


def test_a_page_of_neighbours_has_no_empty_sections(folder: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(folder, alone)
    lines = [json.loads(line) for line in (alone / "journal.jsonl").read_text().splitlines()]
    kept = [line for line in lines if line["arm"] in FEW]
    (alone / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept))
    write_report([alone])
    page = (alone / "report.html").read_text()
    for anchor in ("start", "use", "density", "firmware"):
        assert f'<section id="{anchor}">' not in page
        assert f'href="#{anchor}"' not in page
