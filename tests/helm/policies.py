"""NetworkPolicies, evaluated as Kubernetes defines them: a pod that a policy selects may do what some policy that selects it allows.

Addresses are named, not looked up: a peer is a pod, or an address outside of the cluster. Kubelet probes are not subject to policies and are
not asked about here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from .support import Manifest, Pod, matches

Peer = Pod | str
"""A pod, or an IP address."""


@dataclass(frozen=True)
class Cluster:
    """Policies of one namespace, and what labels namespaces have."""

    policies: list[Manifest]
    namespace: str = "ml"

    def allows(self, source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
        """Say whether a connection is allowed: by who begins it, and by whom it is for."""
        return self._permits("Egress", source, target, port, protocol, target) and self._permits(
            "Ingress", target, source, port, protocol, target
        )

    def _permits(self, direction: str, subject: Peer, other: Peer, port: int, protocol: str, target: Peer) -> bool:
        if isinstance(subject, str) or subject.namespace != self.namespace:
            return True  # no policy of ours is about it
        selecting = [
            one["spec"]
            for one in self.policies
            if direction in one["spec"]["policyTypes"] and matches(one["spec"]["podSelector"], subject.labels)
        ]
        if not selecting:
            return True  # a pod that no policy selects is free
        way = "to" if direction == "Egress" else "from"
        rules = (rule for spec in selecting for rule in spec.get(direction.lower(), []))
        return any(self._peers(rule.get(way), other) and _ports(rule.get("ports"), port, protocol, target) for rule in rules)

    def _peers(self, peers: Iterable[Mapping[str, Any]] | None, other: Peer) -> bool:
        return not peers or any(self._is(peer, other) for peer in peers)  # none at all: everybody

    def _is(self, peer: Mapping[str, Any], other: Peer) -> bool:
        if "ipBlock" in peer:
            if not isinstance(other, str):
                return False  # addresses of pods are not stable: a block is for what is outside
            block, address = peer["ipBlock"], ip_address(other)
            return _within(address, block["cidr"]) and not any(_within(address, hole) for hole in block.get("except", []))
        if isinstance(other, str):
            return False
        if "namespaceSelector" in peer:
            in_namespace = matches(peer["namespaceSelector"], {"kubernetes.io/metadata.name": other.namespace})
        else:
            in_namespace = other.namespace == self.namespace
        return in_namespace and matches(peer.get("podSelector", {}), other.labels)


def _within(address: Any, network: str) -> bool:
    block = ip_network(network)
    return address.version == block.version and address in block


def _ports(ports: Iterable[Mapping[str, Any]] | None, number: int, protocol: str, target: Peer) -> bool:
    return not ports or any(
        port.get("protocol", "TCP") == protocol and _number(port.get("port", number), target) == number for port in ports
    )


def _number(port: int | str, target: Peer) -> int | None:
    """Return the number of a port; a name is one of the pod's that is connected to."""
    if isinstance(port, int):
        return port
    if isinstance(target, str):
        return None
    ports = {one["name"]: one["containerPort"] for container in target.containers for one in container.get("ports", [])}
    return ports.get(port)
