"""The page, the dashboard and the rules about figures name only what there is, and all of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapters.web.metrics_world import card, drift, entry, scrape, sources, track, values
from candled.core.decision import Reason, Side
from candled.ports import Act, Hazard, Incident
from candled.service import BatchTimes
from candled.tally import Tally
from candled_adapters.web.metrics import Metrics
from candled_adapters.web.metrics_kinds import KINDS
from candled_adapters.web.metrics_table import table, with_table
from journals import BTC

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "metrics.md").read_text()
ALERTS = DOCS / "grafana" / "alerts.yaml"
DASHBOARD = (DOCS / "grafana" / "candled.json").read_text()
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="no promtool here: apt-get install prometheus"
)

#: What Prometheus itself adds.
TARGET = {"job", "instance"}
FUNCTIONS = {
    "abs", "bool", "by", "count", "histogram_quantile", "increase", "label_values", "max", "min",
    "min_over_time", "or", "rate", "sum", "time", "topk", "vector", "without", "and", "unless",
}  # fmt: skip


def everything() -> Metrics:
    """Return figures of which each has a value, so that each has its labels."""
    tally = Tally()
    made = [entry(BTC, Side.LONG), entry(BTC, Side.NO_DECISION, reason=Reason.WARMUP)]
    tally.durable(made, BatchTimes(0, 0, 0, 0))
    tally.met(Incident("binance", BTC, Hazard.GAP, Act.FLAG, "text", 0))
    asked = sources(
        [BTC],
        tally,
        latest=lambda: made,
        cards=lambda: (card(),),
        tracks={BTC: track(BTC)}.get,
        drift={BTC: drift(BTC)}.get,
        ready=lambda: True,
        watchdog_beats=lambda: 1,
    )
    return Metrics(asked)


def known() -> dict[str, set[str]]:
    """Return the labels of every series that a daemon has, by its name."""
    found: dict[str, set[str]] = {"up": set()}
    for name, labels in values(scrape(everything())):
        found.setdefault(name, set()).update(key for key, _ in labels)
    return found


KNOWN = known()


def bare(expr: str) -> str:
    """Return an expression without texts, ranges and Grafana's variables."""
    return re.sub(r'"[^"]*"|\[[^]]*\]|\$__\w+', " ", expr)


def series_of(expr: str) -> dict[str, set[str]]:
    """Return the series that an expression names, and the labels that it asks of each."""
    found: dict[str, set[str]] = {}
    for name, _, inside in re.findall(r"\b([a-z_]{2,})\b(\s*\{([^}]*)\})?", bare(expr)):
        if name in KNOWN or name.startswith(("candled_", "process_", "python_")):
            found.setdefault(name, set()).update(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", inside))
    return found


def words_of(expr: str) -> set[str]:
    """Return the words of an expression that are outside of braces and of no `by (...)`."""
    without = re.sub(r"\{[^}]*\}|\b(?:by|without)\s*\([^)]*\)", " ", bare(expr))
    return set(re.findall(r"\b[a-zA-Z_]\w*", re.sub(r"\b[\d.]+(?:e\d+)?\b", " ", without)))


def groups_of(expr: str) -> set[str]:
    found = re.findall(r"\b(?:by|without)\s*\(([^)]*)\)", expr)
    return {label.strip() for labels in found for label in labels.split(",")}


def check(expr: str) -> None:
    """Fail for an expression about series that are not, or by labels that these do not have."""
    asked = series_of(expr)
    assert asked, expr
    for name, labels in asked.items():
        assert name in KNOWN, f"{name} in {expr}"
        assert labels <= KNOWN[name] | TARGET, f"{labels} of {name} in {expr}"
    labels_of_all = set().union(*(KNOWN[name] for name in asked))
    assert groups_of(expr) <= labels_of_all | TARGET, expr
    assert words_of(expr) <= set(asked) | FUNCTIONS, expr


def walk(node: object, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all keys and values of a document, however deep."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield name, value
            yield from walk(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from walk(value, key)


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    return group["rules"]


def dashboard() -> dict[str, Any]:
    return json.loads(DASHBOARD)


def exprs() -> list[str]:
    return [value for key, value in walk(dashboard()) if key == "expr"]


def variables() -> list[dict[str, Any]]:
    return dashboard()["templating"]["list"]


# --- the checks themselves


@pytest.mark.parametrize(
    "wrong",
    [
        "candled_decision_total",
        'candled_decisions_total{sid="long"}',
        "sum by (venue) (candled_decisions_total)",
        "candled_stage_seconds",
        "average(candled_ready)",
        "vector(1)",
    ],
)
def test_a_wrong_expression_is_seen(wrong: str):
    """A name, a label or a function that there is not is refused."""
    with pytest.raises(AssertionError):
        check(wrong)
    check('sum by (side) (rate(candled_decisions_total{side="long", job="x"}[5m])) > 5e2')


# --- the page


def test_the_table_is_that_of_the_code():
    """`make metrics` would change nothing; every figure is in it, with its help."""
    assert with_table(PAGE) == PAGE
    assert table() in PAGE
    for kind in KINDS:
        assert f"| `{kind.name}` | {kind.type} | {' '.join(kind.labels)} |" in PAGE
        assert kind.help.endswith(".")
        assert "|" not in kind.help
        series = f"{kind.name}_count" if kind.type == "histogram" else kind.name
        assert set(kind.labels) <= KNOWN[series]
    with pytest.raises(ValueError, match="the page lacks"):
        with_table("no marks")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_names_follow_prometheus_conventions(kind):
    """Counters end in _total, units are base units, and a name says whose it is."""
    assert re.fullmatch(r"candled_[a-z]+(_[a-z]+)*", kind.name)
    assert kind.name.endswith("_total") == (kind.type == "counter")
    assert not re.search(r"_(ms|pct|percent|millis|minutes|hours|kb|mb|count)(_|$)", kind.name)
    assert kind.type != "histogram" or kind.name.endswith("_seconds")


def test_the_page_names_every_alert_and_no_figure_that_is_not():
    """The table of alerts is that of the rules; names in the text are of figures or families."""
    told = re.findall(r"^\| `(Candled\w+)` \|", PAGE, re.MULTILINE)
    assert told == [rule["alert"] for rule in rules()]
    for name in re.findall(r"candled_[a-z_]+\b", PAGE):
        assert name in {kind.name for kind in KINDS}, name
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (DOCS / link).exists(), link


def test_the_scrape_configuration_is_one():
    """It is YAML, of the job that the alerts are about, at the address of the default."""
    text = PAGE.split("```yaml\n")[1].split("```")[0]
    (job,) = yaml.safe_load(text)["scrape_configs"]
    assert job["job_name"] == "candled"
    assert job["static_configs"] == [{"targets": ["127.0.0.1:8780"]}]


# --- the rules


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_a_rule_is_about_what_there_is_and_says_what_to_do(rule: dict[str, Any]):
    """Its series and labels exist; it has a weight, a summary, and a text for who is woken."""
    check(rule["expr"])
    assert rule["labels"]["severity"] in {"warning", "critical"}
    summary, text = rule["annotations"]["summary"], rule["annotations"]["description"]
    assert text.endswith(".")
    names = set(re.findall(r"\$labels\.(\w+)", summary + text))
    by = groups_of(rule["expr"])
    labels = by or set().union(*(KNOWN[name] for name in series_of(rule["expr"])))
    assert names <= labels | (set() if by else TARGET)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_what_rises_in_a_rule_is_told_from_the_start(rule: dict[str, Any]):
    """Prometheus sees no rise in what was not there before: a new daemon tells all of it, as 0."""
    fresh = values(Metrics(sources([BTC])).registry.collect())
    for name, inside in re.findall(r"increase\((\w+)\{?([^}\[]*)\}?\[", rule["expr"]):
        wanted = set(re.findall(r'(\w+)="([^"]*)"', inside))
        found = [value for (n, key), value in fresh.items() if n == name and wanted <= set(key)]
        assert found, f"{name} {wanted}"
        assert set(found) == {0}


@needs_promtool
def test_prometheus_itself_takes_the_rules_and_the_dashboard(tmp_path: Path):
    """Every expression is one, variables replaced; the rules are valid as they stand."""
    ground = [
        re.sub(r"\$__rate_interval", "5m", re.sub(r'"\$\w+"', '".*"', expr)) for expr in exprs()
    ]
    made = {"rules": [{"record": f"one:{n}", "expr": expr} for n, expr in enumerate(ground)]}
    (tmp_path / "dashboard.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "dashboard", **made}]})
    )
    command = [str(PROMTOOL), "check", "rules", str(ALERTS), str(tmp_path / "dashboard.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


#: Alert -> series, its values minute by minute, and when (minutes) it must be silent and must fire.
PLAYED: dict[str, tuple[dict[str, str], int, int]] = {
    "CandledDown": ({'up{job="candled", instance="a"}': "1x2 0x9"}, 2, 6),
    "CandledNotReady": ({"candled_ready": "0x20"}, 4, 6),
    "CandledDegraded": ({'candled_service_state{state="degraded"}': "1x30"}, 14, 16),
    "CandledStreamLate": (
        {'candled_stream_late_seconds{exchange="x", interval="1m", symbol="B"}': "0x5 61x9"}, 5, 8,
    ),
    "CandledStreamStopped": ({'candled_streams{state="stopped"}': "0x5 1x9"}, 5, 8),
    "CandledNoDecisions": (
        {'candled_decisions_total{exchange="x", interval="1m", side="flat"}': "0+1x60 60x300"},
        120, 260,
    ),
    "CandledUndecided": (
        {
            'candled_decisions_total{exchange="x", side="no_decision"}': "0x60 0+1x300",
            'candled_decisions_total{exchange="x", side="flat"}': "0+1x60 60x300",
        },
        60, 240,
    ),
    "CandledBrokerAway": ({"candled_mqtt_connected": "1x5 0x9"}, 6, 9),
    "CandledOutboxGrows": ({'candled_outbox_entries{sink="mqtt"}': "5 0 5 0 5 0 5x40"}, 10, 30),
    "CandledRefused": ({'candled_refused_total{sink="mqtt"}': "0x5 1x60"}, 4, 8),
    "CandledSlowSignals": (
        {
            'candled_signal_seconds_bucket{le="5"}': "0+10x20 200x60",
            'candled_signal_seconds_bucket{le="10"}': "0+10x80",
            'candled_signal_seconds_bucket{le="+Inf"}': "0+10x80",
        },
        20, 60,
    ),
    "CandledLoopHeldUp": (
        {
            'candled_loop_late_seconds_bucket{le="0.1"}': "0+10x20 200x60",
            'candled_loop_late_seconds_bucket{le="0.2"}': "0+10x80",
            'candled_loop_late_seconds_bucket{le="+Inf"}': "0+10x80",
        },
        20, 50,
    ),
    "CandledClaimBroken": ({'candled_track_claim_broken{role="champion"}': "0x5 1x9"}, 4, 7),
    "CandledDrift": (
        {'candled_incidents_total{exchange="x", hazard="drift", act="flag"}': "0x5 1x60"}, 4, 8,
    ),
    "CandledModelExpiresSoon": (
        {'candled_model_expires_timestamp_seconds{digest="d"}': "606600x60"}, 20, 40,
    ),
    "CandledModelExpired": (
        {'candled_model_expires_timestamp_seconds{digest="d"}': "1800x60"}, 20, 40,
    ),
    "CandledClockSkew": (
        {'candled_venue_clock_offset_seconds{exchange="x"}': "-1x10 -3x30"}, 12, 20,
    ),
    "CandledDiskLow": (
        {"candled_state_free_bytes": "6e9x10 4e9x30", "candled_state_size_bytes": "1e11x50"},
        12, 20,
    ),
}  # fmt: skip


def spelt(played: str) -> str:
    """Spell steps as promtool reads them: 1x2 is 1 and two more, as 1+0x2."""
    return re.sub(r"(?<!\S)(-?[\de.]+)x", r"\1+0x", played)


@needs_promtool
@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_a_rule_fires_when_it_must_and_not_before(rule: dict[str, Any], tmp_path: Path):
    """Played to Prometheus' own evaluation, minute by minute."""
    series, silent, fires = PLAYED[rule["alert"]]
    fed = [{"series": name, "values": spelt(played)} for name, played in series.items()]
    query = f'count(ALERTS{{alertname="{rule["alert"]}", alertstate="firing"}})'
    asked = [
        {"expr": f"{query} or vector(0)", "eval_time": f"{at}m",
         "exp_samples": [{"labels": "{}", "value": value}]}
        for at, value in ((silent, 0), (fires, 1))
    ]  # fmt: skip
    (tmp_path / "test.yaml").write_text(
        yaml.safe_dump(
            {
                "rule_files": [str(ALERTS)],
                "evaluation_interval": "1m",
                "tests": [
                    {"interval": "1m", "input_series": fed, "promql_expr_test": asked},
                ],
            }
        )
    )
    command = [str(PROMTOOL), "test", "rules", str(tmp_path / "test.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_is_played():
    """None is without its proof."""
    assert list(PLAYED) == [rule["alert"] for rule in rules()]


# --- the dashboard


@pytest.mark.parametrize("expr", exprs())
def test_the_dashboard_asks_for_what_there_is(expr: str):
    """Names, labels and functions; and each is of the daemon that was chosen."""
    check(expr)
    assert 'instance=~"$instance"' in expr


def test_the_dashboard_shows_every_figure():
    """What is worth telling is worth a panel."""
    asked: set[str] = set().union(*map(series_of, exprs()))
    for kind in KINDS:
        assert asked & {kind.name, f"{kind.name}_bucket"}, kind.name


def test_every_variable_is_used_and_there_is_no_other():
    """Each is in some expression or in what another one asks."""
    asked = " ".join([*exprs(), *(str(one.get("query")) for one in variables())])
    names = [one["name"] for one in variables()]
    for name in names:
        wanted = "${DS_PROMETHEUS}" if name == "DS_PROMETHEUS" else f'=~"${name}"'
        assert wanted in DASHBOARD.replace('\\"', '"'), name
    assert set(re.findall(r"\$(\w+)", asked)) - {"__rate_interval"} == set(names) - {
        "DS_PROMETHEUS"
    }
    for one in variables():
        if one["type"] == "query":
            check(one["query"]["query"].removeprefix("label_values").strip("()").rsplit(",", 1)[0])


def test_the_dashboard_belongs_to_no_installation():
    """Its data source is whatever is chosen, and no two panels share a number or a place."""
    data = dashboard()
    uids = [value["uid"] for key, value in walk(data) if key == "datasource"]
    assert set(uids) == {"${DS_PROMETHEUS}"}
    panels = data["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = set(_cells(at["x"], at["y"], at["w"], at["h"]))
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    rows = [panel["title"] for panel in panels if panel["type"] == "row"]
    assert rows == ["Overview", "Pipeline", "Streams", "Delivery", "Models", "Venues", "Host"]
    assert all(panel["title"] for panel in panels)


def _cells(x: int, y: int, width: int, height: int) -> Iterable[tuple[int, int]]:
    return ((column, row) for column in range(x, x + width) for row in range(y, y + height))
