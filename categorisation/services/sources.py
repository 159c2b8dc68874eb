"""Where a window's threads come from: the young ones of every project, or the open runs."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from django.db.models import F

from categorisation import selectors
from categorisation.models import Run, RunKind, RunState
from categorisation.selectors import TaxonomySnapshot
from categorisation.services import claims as claiming
from categorisation.services.streams import Stream, Work, describe_draft, young_threads_of
from categorisation.services.waiting import share_out

PROJECTS_AT_ONCE = 4  # among which the room for young threads is divided
SERVED_FIRST = {kind: place for place, kind in enumerate(RunKind)}
CALLS_IN_HAND = 2  # of a project with a bound: those under way, and as many again that wait


class YoungThreads:
    """Unlabelled threads of the last day, of all projects."""

    def __init__(self) -> None:
        self._streams: dict[UUID, Stream] = {}

    def refresh(self) -> None:
        self._streams.clear()

    def claim(self, room: int, in_hand: Mapping[UUID, int]) -> list[Work]:
        claims = claiming.claim_young_threads(room, share=-(-room // PROJECTS_AT_ONCE))
        return [Work(self._stream_of(claim.project_id), claim) for claim in claims]

    def _stream_of(self, project_id: UUID) -> Stream:
        if project_id not in self._streams:
            self._streams[project_id] = young_threads_of(project_id)
        return self._streams[project_id]


class OpenRuns:
    """What the running runs have to do with: projects take turns, a project's runs come in the order of their kinds."""

    def __init__(self, questions_per_call: int = 1) -> None:
        self._questions_per_call = questions_per_call
        self._streams: dict[UUID, list[Stream]] = {}  # by project
        self._taxonomies: dict[UUID, TaxonomySnapshot] = {}
        self._dry: set[UUID] = set()  # runs that gave less than was asked, until the next refresh
        self._turn = 0

    def refresh(self) -> None:
        known = {stream.run_id: stream for streams in self._streams.values() for stream in streams}
        self._streams = {}
        self._dry = set()
        for run in _read_running():
            stream = self._describe(run, known.get(run.pk))
            if stream.taxonomy.categories:
                self._streams.setdefault(run.project_id, []).append(stream)

    def claim(self, room: int, in_hand: Mapping[UUID, int]) -> list[Work]:
        bounds = {
            project_id: self._bound(streams[0], in_hand.get(project_id, 0))
            for project_id, streams in self._streams.items()
            if any(stream.run_id not in self._dry for stream in streams)
        }
        shares = share_out(room, bounds, self._turn)
        self._turn += len(shares)
        return [work for project_id, share in shares for work in self._claim_of(project_id, share)]

    def _claim_of(self, project_id: UUID, share: int) -> list[Work]:
        works: list[Work] = []
        for stream in self._streams[project_id]:
            wanted = share - len(works)
            if wanted <= 0:
                break
            if stream.run is None or stream.run.pk in self._dry:
                continue
            claims = claiming.claim_for_run(stream.run, wanted)
            if len(claims) < wanted:
                self._dry.add(stream.run.pk)
            works += [Work(stream, claim) for claim in claims]
        return works

    def _bound(self, stream: Stream, in_hand: int) -> int | None:
        if stream.max_lanes is None:
            return None
        return max(0, CALLS_IN_HAND * stream.max_lanes * self._questions_per_call - in_hand)

    def _describe(self, run: Run, known: Stream | None) -> Stream:
        """The same stream as long as nothing about it has changed: threads of one stream share their calls."""
        taxonomy = self._read_taxonomy(run, known)
        max_lanes: int | None = run.max_lanes  # type: ignore[attr-defined]  # annotated
        if known is not None and known.taxonomy is taxonomy and known.max_lanes == max_lanes:
            return known
        return Stream(run.project_id, taxonomy, run if known is None else known.run, max_lanes)

    def _read_taxonomy(self, run: Run, known: Stream | None) -> TaxonomySnapshot:
        if run.kind == RunKind.PREVIEW:
            return describe_draft(run) if known is None else known.taxonomy
        cached = self._taxonomies.get(run.project_id)
        if cached is None or cached.version != run.version:  # type: ignore[attr-defined]  # annotated
            cached = self._taxonomies[run.project_id] = selectors.read_taxonomy(run.project_id)
        return cached


def _read_running() -> list[Run]:
    running = (
        Run.objects.filter(state=RunState.RUNNING, project__taxonomy__is_enabled=True)
        .annotate(version=F("project__taxonomy__version"), max_lanes=F("project__taxonomy__max_lanes"))
        .defer("events", "result")
        .order_by("started_at", "id")
    )
    return sorted(running, key=lambda run: SERVED_FIRST[RunKind(run.kind)])
