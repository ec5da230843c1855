"""Mistakes of the membership, of snapshots, and of what is sent again."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from vaylix_resp.raft import follower, leader, local, log, progress, replication

from .mistakes import mutation, replaced


@mutation(membership=True, nodes=3)
def takes_two_changes_of_the_membership_at_once(stack: ExitStack) -> None:
    def refuses(self: leader.Leader, change: Any, force: bool) -> Any:
        members, self._local.log.members = self._local.log.members, []
        refusal = old(self, change, True)
        self._local.log.members = members
        return refusal

    old = replaced(stack, leader.Leader, "refuses_change", refuses)


@mutation(membership=True, slow_disks=True, transfers=True, nodes=3)
def stands_for_election_before_it_has_applied_a_change(stack: ExitStack) -> None:
    replaced(stack, local.Local, "may_stand", property(lambda self: self.id in self.membership.voters))


@mutation(membership=True, nodes=3)
def a_removed_leader_leads_on(stack: ExitStack) -> None:
    def follow(self: leader.Leader) -> bool:
        old(self)
        return True

    old = replaced(stack, leader.Leader, "follow_membership", follow)


@mutation(compaction=True, partitions=True, nodes=3, duplicate=500)
def installs_a_snapshot_that_is_older_than_its_state(stack: ExitStack) -> None:
    def on_install(self: follower.Follower, message: Any) -> None:
        if self._local.installing is None:
            self._local.installing = message.snapshot

    def restart(self: log.RaftLog, snapshot: Any) -> Any:
        self.committed = min(self.committed, snapshot.last.index - 1)
        return old(self, snapshot)

    replaced(stack, follower.Follower, "on_install", on_install)
    old = replaced(stack, log.RaftLog, "restart_behind", restart)


@mutation(compaction=True, nodes=3, partitions=True)
def never_sends_a_snapshot_again(stack: ExitStack) -> None:
    replaced(stack, replication.Replication, "tick", lambda self: None)
    replaced(stack, follower.Follower, "installed", lambda self, *, ok: None)


@mutation()
def never_looks_for_appends_that_were_lost(stack: ExitStack) -> None:
    def alive(self: replication.Replication, peer: progress.Progress, reply: Any) -> None:
        peer.round = max(peer.round, reply.round)

    replaced(stack, replication.Replication, "alive", alive)
