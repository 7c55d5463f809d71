"""The report of whole, broken, hostile, pooled and barely begun campaigns."""

from __future__ import annotations

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pyperf
import pytest

from analysis.load import load
from analysis.report import write_report
from bench.errors import InputError, RecordError
from tests.synthetic import ARMS, campaign

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}|$\\frac{\x1b[31m\ud800'
FEW = {name: ARMS[name] for name in ("process", "crun", "uml")}


class _Page(HTMLParser):
    """Gathers tags, attributes and the text outside of <style>."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._styled = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._styled = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._styled = False

    def handle_data(self, data: str) -> None:
        if not self._styled:
            self.text += data.replace("\N{NO-BREAK SPACE}", " ")


def _page(folder: Path) -> _Page:
    return _Page((folder / "report.html").read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    folder = campaign(tmp_path_factory.mktemp("whole") / "quick")
    return folder, write_report([folder])


def test_a_report_written_again_is_the_same(whole: tuple[Path, list[Path]]) -> None:
    folder, _ = whole
    before = (folder / "report.html").read_bytes()
    write_report([folder])
    assert (folder / "report.html").read_bytes() == before


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign on three hosts: one emulated and lost, one whole, one that was never reached."""
    folder = tmp_path_factory.mktemp("several") / "lab"
    for name in ("rack1", "lab-debian"):
        campaign(folder / name, arms=FEW)
        facts = json.loads((folder / name / "facts.json").read_text())
        facts["host"] |= {"name": name, "emulated": name.startswith("lab-")}
        (folder / name / "facts.json").write_text(json.dumps(facts))
    (folder / "lab-debian/lost.json").write_text(json.dumps({"schema": 1, "when": "now", "reason": "no <route>"}))
    (folder / "hosts.json").write_text(json.dumps({"schema": 1, "hosts": ["rack1", "lab-debian", "lab-xen"]}))
    write_report([folder])
    return folder


def test_each_host_has_a_report_and_the_folder_a_page_that_leads_there(several: Path) -> None:
    page = _page(several)
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert links == ["rack1/report.html", "lab-debian/report.html"]
    assert all((several / str(link)).is_file() for link in links)
    assert page.text.count("emulated host") == 1
    assert page.text.count("Emulated host: lab-debian is an emulated machine itself.") == 1
    assert "no <route>" in page.text
    assert "Nothing was measured there" in page.text
    assert not [tag for tag, _ in page.tags if tag in ("table", "script")]
    text = (several / "report.md").read_text()
    assert text.count("(emulated host)") == 1
    assert "[The whole report](rack1/report.md)" in text


def test_an_emulated_host_is_marked_wherever_its_figures_are(several: Path) -> None:
    assert "emulated host" not in _page(several / "rack1").text.lower()
    marked = _page(several / "lab-debian").text
    assert "Matrix emulated host" in marked
    assert "Emulated host: lab-debian is an emulated machine itself" in marked
    assert "Lost: lab-debian was lost before its last slot (no <route>)." in marked
    assert "(emulated host)" in (several / "lab-debian/report.md").read_text().splitlines()[0]


def test_real_and_emulated_figures_are_not_pooled(several: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is of an emulated host, the others are not"):
        write_report([several / "rack1", several / "lab-debian"], tmp_path)


def test_the_folder_of_several_hosts_is_no_side_of_a_comparison(several: Path) -> None:
    with pytest.raises(InputError, match=r"name one's folder, .*lab/rack1 or"):
        load([several])


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interrupted campaign whose every text is hostile, with a failure of each kind."""

    def spoil(record: dict[str, Any]) -> None:
        record["kernel"] = record["host"] = HOSTILE
        record["seen"] |= {"kernel": HOSTILE, HOSTILE: HOSTILE, "mounts": [HOSTILE]}
        record["equivalence"]["differs"] = {HOSTILE: [HOSTILE, HOSTILE]}
        record["equivalence"]["caged"] = False
        if record["arm"] == "uml" and record["block"] <= 2:
            record |= {
                "status": ["failed", "timeout"][record["block"] - 1],
                "reason": HOSTILE,
                "console": HOSTILE * 9,
            }
        if "stop" in record:
            record["stop"] = HOSTILE

    folder = campaign(tmp_path_factory.mktemp("hostile") / "h", blocks=4, planned_blocks=6, arms=FEW, change=spoil)
    plan = json.loads((folder / "plan.json").read_text())
    plan |= {"campaign": HOSTILE, "description": HOSTILE}
    plan["arms"]["crun"]["label"] = HOSTILE
    plan["left_out"].append({"arm": HOSTILE, "scenario": HOSTILE, "reason": HOSTILE})
    plan["scenarios"]["lifecycle"]["description"] = HOSTILE
    (folder / "plan.json").write_text(json.dumps(plan))
    facts = {"host": {HOSTILE: HOSTILE, "cpu": HOSTILE}, "cgroup": "none: no right", "git": {"dirty": True}}
    (folder / "facts.json").write_text(json.dumps(facts))
    write_report([folder])
    return folder


def test_everything_promised_is_written(whole: tuple[Path, list[Path]]) -> None:
    folder, written = whole
    names = {str(path.relative_to(folder)) for path in written}
    assert {"report.html", "report.md", "slots.parquet", "samples.parquet"} <= names
    assert {f"pyperf/{arm}.json" for arm in ARMS} <= names
    assert {"plots/boot-ecdf.png", "plots/boot-phases.png", "plots/density-memavailable.png"} <= names
    assert all(path.stat().st_size for path in written)
    assert not list(folder.rglob("*.partial"))


def test_the_page_stands_alone(whole: tuple[Path, list[Path]]) -> None:
    html = (whole[0] / "report.html").read_text()
    page = _Page(html)
    assert not {"script", "img", "iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    assert "@import" not in html
    assert "url(http" not in html
    assert sum(tag == "svg" for tag, _ in page.tags) == 11


def test_ids_are_unique_so_that_charts_do_not_share_clip_paths(whole: tuple[Path, list[Path]]) -> None:
    ids = [attributes["id"] for _, attributes in _page(whole[0]).tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_the_headline_is_computed_from_the_data(whole: tuple[Path, list[Path]]) -> None:
    folder, _ = whole
    samples = pd.read_parquet(folder / "samples.parquet")
    boots = samples[samples["metric"] == "boot"].groupby("arm", observed=True)["value"].median() * 1000
    text = _page(folder).text
    containers = f"Containers start in {boots['bwrap']:.1f} to {boots['nspawn']:.0f} ms, 1.4 to 10 times a bare process"
    assert f"{containers} ({boots['process']:.1f} ms)" in text
    assert "None: all 106 slots ended well." in text


def test_a_metric_that_an_arm_lacks_says_why(whole: tuple[Path, list[Path]]) -> None:
    text = _page(whole[0]).text
    assert "no exec door: its runtime cannot run a command in it" in text
    assert "n/a: boots a boot sector only: a Linux guest hangs under KVM on this host" in text
    assert "1 block, no interval" in text


def test_a_hostile_journal_is_inert(hostile: Path) -> None:
    page = _page(hostile)
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in page.text
    assert "49" not in page.text.split("console", 1)[1][:200]
    markdown = (hostile / "report.md").read_text()
    assert "<script" not in markdown
    assert "<img" not in markdown
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table[: len(FEW) + 4]}) == 1


def test_failures_and_missing_slots_never_disappear(hostile: Path) -> None:
    page = _page(hostile)
    # 3 arms x 6 blocks, 3 ramps and 2 firmware starts; uml failed in two blocks and in its ramp.
    assert "17 slots ran of 23 planned slots" in page.text
    assert "3 failed or timed out; 6 never ran (process 2, crun 2, uml 2)" in page.text
    assert [a.get("class") for t, a in page.tags if t == "span"].count("badge bad") == 5  # 3 failures, 2 emulated
    assert "timeout" in page.text


def test_the_page_says_what_limits_its_figures(hostile: Path) -> None:
    text = _page(hostile).text
    for said in (
        "Unfinished: 6 of",
        "`tare resume`",
        "Only 4 blocks with a ratio",
        "All slots ran uncaged (cgroup: none: no right)",
        "git tree dirty",
        "4 blocks, no interval",
    ):
        assert said in text


def test_one_slot_is_enough_for_a_report(tmp_path: Path) -> None:
    folder = campaign(tmp_path / "a", blocks=1, ramp=0)
    lines = (folder / "journal.jsonl").read_text().splitlines(keepends=True)
    (folder / "journal.jsonl").write_text(lines[0] + lines[1][:50])
    (folder / "plan.json").unlink()
    (folder / "facts.json").unlink()
    write_report([folder])
    assert "No plan.json in a: what it would tell is missing here." in _page(folder).text


def test_a_campaign_of_failures_only_has_a_report_too(tmp_path: Path) -> None:
    folder = campaign(
        tmp_path / "a",
        blocks=2,
        change=lambda r: r.update(status="failed", reason="no /dev/kvm", samples=[], marks={}, seen={}, equivalence={}),
    )
    page = _write_and_read(folder)
    assert "No instance of any arm ended well enough to give a figure." in page.text
    assert page.text.count("no /dev/kvm") == len((folder / "journal.jsonl").read_text().splitlines())


def test_what_tools_inside_say_is_shown_and_how_far_their_clock_was_off(tmp_path: Path) -> None:
    def inside(record: dict[str, Any]) -> None:
        clocks = {"uml": (0.97, 1.05), "crun": (1.01, None)}.get(record["arm"], (1.0, 1.0))
        record["samples"] = [
            {
                "metric": "redis.get",
                "values": [75757.58],
                "unit": "operation/s",
                "better": "higher",
                "clock": clocks[0],
            },
            {"metric": "iperf3.rate", "values": [3.08 * 2**30], "unit": "byte/s", "better": "higher"},
            {"metric": "fio.p99", "values": [0.0268], "unit": "second", "better": "lower", "clock": clocks[1]},
        ]

    text = _write_and_read(campaign(tmp_path / "a", blocks=2, arms=FEW, ramp=0, change=inside)).text
    assert text.count("Clock: a second of the host’s") == 1
    assert "Clock: a second of the host’s took 1.05 s on the clock of uml (fio.p99, its worst)" in text
    assert "76 k/s" in text
    assert "3.1 GiB/s" in text


def _write_and_read(folder: Path) -> _Page:
    write_report([folder])
    return _page(folder)


def test_campaigns_are_pooled_block_by_block(tmp_path: Path) -> None:
    folders = [campaign(tmp_path / name, blocks=4, arms=FEW, seed=seed) for seed, name in ((1, "a"), (2, "b"))]
    with pytest.raises(InputError, match="--out"):
        write_report(folders)
    write_report(folders, tmp_path / "both")
    text = _page(tmp_path / "both").text
    assert "Pooled: 2 campaigns from" in text
    assert "blocks, no interval" not in text.split("Teardown", 1)[0]
    slots = pd.read_parquet(tmp_path / "both" / "slots.parquet")
    assert slots["run"].nunique() == 2
    assert not list((tmp_path / "a").glob("report*"))


@pytest.mark.parametrize("content", [None, b"", b"garbage\n"])
def test_what_is_no_campaign_is_one_clear_line_and_writes_nothing(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "journal.jsonl").write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError) as caught:
        write_report([tmp_path])
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_parquet_holds_every_value(whole: tuple[Path, list[Path]]) -> None:
    folder, _ = whole
    records = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    values = sum(len(sample["values"]) for record in records for sample in record["samples"])
    assert len(pd.read_parquet(folder / "samples.parquet")) == values
    assert len(pd.read_parquet(folder / "slots.parquet")) == len(records)
    assert len(pd.read_parquet(folder / "ramps.parquet")) == sum(len(record.get("ramp", [])) for record in records) > 0


def test_pyperf_reads_the_suites(whole: tuple[Path, list[Path]]) -> None:
    folder, _ = whole
    suite = pyperf.BenchmarkSuite.load(str(folder / "pyperf" / "crun.json"))
    spawn = suite.get_benchmark("spawn")
    assert (spawn.get_nrun(), spawn.get_nvalue(), spawn.get_unit()) == (12, 60, "second")
    assert suite.get_benchmark("density.memavailable").get_unit() == "byte"
    assert "hostname" not in suite.get_metadata()
    samples = pd.read_parquet(folder / "samples.parquet")
    own = samples[(samples["arm"] == "crun") & (samples["metric"] == "spawn")]["value"]
    assert sorted(spawn.get_values()) == sorted(own)


@pytest.mark.parametrize("command", ["stats", "show", "check", "compare_to"])
def test_pyperf_commands_work_on_the_suites(whole: tuple[Path, list[Path]], command: str) -> None:
    suites = [str(whole[0] / "pyperf" / f"{arm}.json") for arm in ("crun", "qemu@6.1.0-56")]
    argv = [sys.executable, "-m", "pyperf", command, *(suites if command == "compare_to" else suites[:1])]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "teardown.cpu" in done.stdout
    if command == "compare_to":
        assert "x slower" in done.stdout


@pytest.mark.parametrize("name", ["pyperf", "plots", "report.html", "report.md", "slots.parquet", "pyperf/crun.json"])
def test_a_report_is_not_written_through_a_link(tmp_path: Path, name: str) -> None:
    """Whoever made the folder may have put links there: root's report would replace what they lead to."""
    outside = tmp_path / "etc"
    outside.mkdir()
    for victim in ("crun.json", "victim"):
        (outside / victim).write_text("precious")
    folder = campaign(tmp_path / "a", blocks=1, ramp=0)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).symlink_to(outside / "victim" if "." in name else outside)
    with pytest.raises(RecordError, match="is a symbolic link"):
        write_report([folder])
    assert {path.name: path.read_text() for path in outside.iterdir()} == dict.fromkeys(
        ("crun.json", "victim"), "precious"
    )


def test_a_host_s_report_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    campaign(tmp_path / "a" / "rack1", blocks=1, ramp=0)
    (tmp_path / "a" / "hosts.json").write_text('{"schema": 1, "hosts": ["rack1"]}')
    (tmp_path / "out").mkdir()
    (tmp_path / "out/rack1").symlink_to(tmp_path / "etc")
    with pytest.raises(RecordError, match="rack1: is a symbolic link"):
        write_report([tmp_path / "a"], tmp_path / "out")
    (tmp_path / "a/hosts.json").write_text('{"schema": 1, "hosts": ["../evil"]}')
    with pytest.raises(InputError, match="is not a host's name"):
        write_report([tmp_path / "a"], tmp_path / "out2/deep")
    assert list((tmp_path / "etc").iterdir()) == []
    assert not (tmp_path / "out2").exists()


def test_what_was_resumed_with_something_else_is_cautioned(tmp_path: Path) -> None:
    folder = campaign(tmp_path / "a", blocks=1, ramp=0)
    facts = json.loads((folder / "facts.json").read_text())
    facts["resumed"] = [
        {"when": "2026-11-30T10:00:00Z", "changed": ["the host was booted anew"], "anyway": False},
        {"when": "2026-11-30T11:00:00Z", "changed": ["another machine", "CPU A → <B>"], "anyway": True},
    ]
    (folder / "facts.json").write_text(json.dumps(facts))
    write_report([folder])
    page = (folder / "report.html").read_text()
    assert "Resumed on 2026-11-30T10:00:00Z, and meanwhile: the host was booted anew." in page
    assert "was resumed on 2026-11-30T11:00:00Z although it had been begun with something else" in page
    assert "(another machine; CPU A → &lt;B&gt;)" in page


@pytest.mark.parametrize("value", [0, -1.0, 5e-324, 2**63 - 1])
def test_values_that_are_odd_are_reported_all_the_same(tmp_path: Path, value: float) -> None:
    """Also a ramp that stands still; warnings are errors here."""

    def change(record: dict[str, Any]) -> None:
        for sample in record["samples"]:
            sample["values"] = [value for _ in sample["values"]]
        for step in record.get("ramp") or []:
            step |= {"n": 2, "cage": value}

    folder = campaign(
        tmp_path / "a", blocks=6, values=2, ramp=3, arms=FEW | {"qemu": ARMS["qemu@6.1.0-56"]}, change=change
    )
    assert write_report([folder], tmp_path / "out")


def test_what_plan_and_facts_leave_out_is_not_needed(tmp_path: Path) -> None:
    folder = campaign(tmp_path / "a", blocks=1, ramp=0, arms=FEW)
    plan = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps({"arms": plan["arms"], "envelope": {"cpus": 1}}))
    (folder / "facts.json").write_text('{"host": {}, "cage": {}, "git": {}}')
    write_report([folder])
    assert "memory not recorded" in (folder / "report.html").read_text()
