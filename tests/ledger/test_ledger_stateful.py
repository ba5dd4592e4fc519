"""Hypothesis plays processes that claim, settle, unload, die and come back, and a world that damages their files.

The test keeps books of its own: what really is in memory. The sum must never exceed the ceiling, and everybody has to see it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from ledgers import SERVER, Clock, die, ledger

from vwt_agents.ledger import Resource

CEILING = 10
NAMES = ["a", "b", "c"]
SHARED = [Resource(name, SERVER) for name in NAMES]
OWN = [Resource(name) for name in NAMES]
WHO = st.integers(0, 2)
RESOURCE = st.sampled_from(SHARED + OWN)


class World(RuleBasedStateMachine):
    """Three processes, one device."""

    @initialize()
    def begin(self):
        self.root = Path(tempfile.mkdtemp(prefix="vwt-ledger-"))
        self.clock = Clock()
        self.alive = [ledger(self.root / "l", f"run {number}", self.clock) for number in range(3)]
        self.held = [{} for _ in range(3)]
        self.leaving = [set() for _ in range(3)]
        self.wants = [{} for _ in range(3)]
        self.orphans = {}

    def teardown(self):
        for each in self.alive:
            each.close()
        shutil.rmtree(self.root)

    # -- what processes do --------------------------------------------------------------------------------------------

    @rule(who=WHO, resource=RESOURCE, mib=st.integers(0, 7))
    def claims(self, who, resource, mib):
        held = self.held[who].get(resource, -1)
        since = self.wants[who].get(resource, (self.clock.now, 0))[0]
        others = [(i, wanted) for i in range(3) if i != who for wanted in self.wants[i].items()]
        older = [(i, each, size) for i, (each, (at, size)) in others if at < since and self.could(each, size)]
        leaving = resource.server and any(resource in self.leaving[i] for i in range(3) if i != who)
        fits = mib <= held or self.taken((who, resource, mib)) <= CEILING >= self.taken((who, resource, mib), *older)
        granted = self.alive[who].claim("gpu0", resource, mib, CEILING) is None
        assert granted is (fits and not leaving), "all that fits is granted, and nothing else"
        if granted:
            self.forget(who, resource)
            self.held[who][resource] = mib
            self.orphans.pop(resource, None)

    @rule(who=WHO, share=st.sampled_from([0.0, 0.5, 1.0]), data=st.data())
    def settles(self, who, share, data):
        if self.held[who]:
            resource = data.draw(st.sampled_from(sorted(self.held[who], key=str)))
            mib = self.held[who][resource] = int(self.held[who][resource] * share)
            self.alive[who].settle(resource, mib)

    @rule(who=WHO, resource=RESOURCE)
    def begins_to_unload(self, who, resource):
        used = resource.server and any(resource in self.held[i] for i in range(3) if i != who)
        assert self.alive[who].leave(resource) is not bool(used)
        if used:
            self.forget(who, resource)
        elif resource in self.held[who]:
            self.leaving[who].add(resource)

    @rule(who=WHO, done=st.booleans(), data=st.data())
    def ends_unloading(self, who, done, data):
        if self.leaving[who]:
            resource = data.draw(st.sampled_from(sorted(self.leaving[who], key=str)))
            if done:
                self.alive[who].drop(resource)
                self.forget(who, resource)
                self.orphans.pop(resource, None)
            else:
                self.alive[who].stay(resource)
                self.leaving[who].discard(resource)

    @rule(who=WHO, resource=RESOURCE, mib=st.integers(1, 10), ago=st.integers(0, 5))
    def wants_more(self, who, resource, mib, ago):
        since = self.clock.now - ago
        self.alive[who].want("gpu0", resource, mib, since)
        self.wants[who][resource] = (since, mib)

    @rule(who=WHO)
    def adopts_an_orphan(self, who):
        for orphan in self.alive[who].snapshot().orphans(SERVER)[:1]:
            assert self.alive[who].adopt(orphan.resource)
            self.alive[who].drop(orphan.resource)
            self.forget(who, orphan.resource)
            del self.orphans[orphan.resource]

    @rule(who=WHO, present=st.sets(st.sampled_from(SHARED)))
    def looks_at_the_server(self, who, present):
        self.alive[who].forget(set(SHARED) - present)
        self.orphans = {resource: mib for resource, mib in self.orphans.items() if resource in present}

    @rule(who=WHO, killed=st.booleans())
    def ends_and_comes_back(self, who, killed):
        (die if killed else type(self.alive[who]).close)(self.alive[who])
        for resource, mib in self.held[who].items():
            if resource.server:
                self.orphans[resource] = max(mib, self.orphans.get(resource, 0))
        self.held[who], self.leaving[who], self.wants[who] = {}, set(), {}
        self.alive[who] = ledger(self.root / "l", f"run {who}", self.clock)

    # -- what the world does ------------------------------------------------------------------------------------------

    @rule()
    def ten_seconds_pass(self):
        self.clock.now += 10.0
        self.wants = [{} for _ in range(3)]

    @precondition(lambda self: any(self.held))
    @rule(data=st.data(), garbage=st.sampled_from([b"", b"{", b"\x00" * 100, b'{"version": 2}']), other=WHO)
    def a_living_page_is_damaged(self, data, garbage, other):
        who = data.draw(st.sampled_from([i for i in range(3) if self.held[i]]))
        self.page(who).write_bytes(garbage)
        if other != who:
            fresh = Resource("fresh")
            assert self.alive[other].claim("gpu0", fresh, 0, CEILING) is not None
        self.alive[who].snapshot().pressing("gpu0")

    @precondition(lambda self: any(self.held))
    @rule(data=st.data())
    def a_living_page_is_removed(self, data):
        who = data.draw(st.sampled_from([i for i in range(3) if self.held[i]]))
        self.page(who).unlink()
        self.alive[who].snapshot().pressing("gpu0")

    @rule(name=st.sampled_from(["lock", "aa.page", "bb.tmp"]), garbage=st.sampled_from([None, b"", b"garbage"]))
    def strange_files(self, name, garbage):
        if garbage is None:
            (self.root / "l" / name).unlink(missing_ok=True)
        else:
            (self.root / "l" / name).write_bytes(garbage)

    @rule()
    def the_folder_is_removed(self):
        shutil.rmtree(self.root / "l")
        self.orphans = {}
        for each in self.alive:
            each.snapshot().pressing("gpu0")

    # -- the books ----------------------------------------------------------------------------------------------------

    def page(self, who):
        return self.root / "l" / f"{self.alive[who]._own._shelf.owner}.page"

    def forget(self, who, resource):
        self.held[who].pop(resource, None)
        self.leaving[who].discard(resource)
        self.wants[who].pop(resource, None)

    def sums(self, *more):
        """What memory each model takes, with more claims if given; the larger figure where several hold it."""
        sums = defaultdict(int)
        claims = [(who, each, size) for who, held in enumerate(self.held) for each, size in held.items()]
        replaced = [claim for claim in claims if claim[:2] not in [each[:2] for each in more[:1]]]
        for who, each, size in [*replaced, *more, *((None, *orphan) for orphan in self.orphans.items())]:
            key = each if each.server else (who, each)
            sums[key] = max(sums[key], size)
        return sums

    def could(self, resource, size):
        """Whether it would fit if everybody alive made way."""
        return size + sum(mib for each, mib in self.orphans.items() if each != resource) <= CEILING

    def taken(self, *more):
        return sum(self.sums(*more).values())

    @invariant()
    def within_the_ceiling(self):
        assert self.taken() <= CEILING

    @invariant()
    def everybody_sees_the_same(self):
        for who, each in enumerate(self.alive):
            mine = {resource if resource.server else (who, resource) for resource in self.held[who]}
            assert each.snapshot().others("gpu0") == sum(size for key, size in self.sums().items() if key not in mine)


World.TestCase.settings = settings(max_examples=30, stateful_step_count=30)
TestBooks = World.TestCase
