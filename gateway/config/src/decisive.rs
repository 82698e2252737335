//! Which key of the file decides about what was dropped.

use natgw_nat::{DropReason, Protocol};

/// The key that another outcome would need another value of, of a packet of this protocol that was dropped for this reason;
/// `None` where no key would let it through.
pub const fn decisive_key(reason: DropReason, protocol: Protocol) -> Option<&'static str> {
    use DropReason::*;
    let key = match reason {
        SourceRoute => "nat.source_route",
        IcmpEmbedded => "nat.icmp_embedded_checksum",
        FragmentsFull => "nat.limits.fragments",
        SubscriberFragments => "nat.limits.fragments_per_subscriber",
        Protocol => "nat.pools.other_protocols",
        SourceAddress | DestinationAddress => "nat.class_e",
        SpoofedInside | NoRoute => "routes",
        // A query names no endpoint that a forward could be for.
        NoMapping if matches!(protocol, self::Protocol::Icmp) => "nat.pools.ping",
        NoMapping if matches!(protocol, self::Protocol::Other) => "nat.static",
        NoMapping => "nat.port_forwards",
        Filtered => "nat.pools.filtering",
        NoRule | RuleReject | RuleDrop => "nat.rules",
        SessionsFull | MappingsFull => "nat.limits.sessions",
        SubscribersFull => "nat.limits.subscribers",
        PortsExhausted | PortBlocksExhausted | AddressTaken => "nat.pools.addresses",
        SubscriberPortBlocks => "nat.pools.port_blocks_per_subscriber",
        NoPortRange => "nat.pools.deterministic",
        SubscriberPorts => "nat.limits.ports_per_subscriber",
        SubscriberSessions => "nat.limits.sessions_per_subscriber",
        SubscriberHalfOpen => "nat.limits.half_open_per_subscriber",
        SubscriberRate => "nat.limits.new_sessions_per_subscriber_per_s",
        RedirectsFull => "nat.limits.redirected_sessions",
        TcpNoSession => "nat.tcp_pickup",
        _ => return None,
    };
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::stands_in_the_reference;

    #[test]
    fn every_decisive_key_stands_in_the_reference() {
        let mut found = 0;
        for (&reason, protocol) in
            DropReason::ALL.iter().flat_map(|reason| Protocol::ALL.map(|of| (reason, of)))
        {
            let Some(key) = decisive_key(reason, protocol) else { continue };
            assert!(stands_in_the_reference(key), "{key} of {}", reason.name());
            found += 1;
        }
        assert!(found > 20);
    }
}
