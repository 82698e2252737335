/* What bindgen reads: the headers of the calls in build.rs's allowlist, and the shim. */
#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_eth_ring.h>
#include <rte_interrupts.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_ring.h>
#include <rte_version.h>

#include "shim.h"

/* Macros with a cast or a call in them, which bindgen evaluates only as the value of a constant. */
static const uint64_t ETH_RSS_IPV4 = RTE_ETH_RSS_IPV4;
static const uint64_t ETH_RSS_FRAG_IPV4 = RTE_ETH_RSS_FRAG_IPV4;
static const uint64_t ETH_RSS_NONFRAG_IPV4_OTHER = RTE_ETH_RSS_NONFRAG_IPV4_OTHER;
static const uint64_t ETH_RSS_IPV4_ANY = RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_FRAG_IPV4 | RTE_ETH_RSS_NONFRAG_IPV4_TCP |
					 RTE_ETH_RSS_NONFRAG_IPV4_UDP | RTE_ETH_RSS_NONFRAG_IPV4_SCTP |
					 RTE_ETH_RSS_NONFRAG_IPV4_OTHER;
static const uint64_t ETH_RX_OFFLOAD_RSS_HASH = RTE_ETH_RX_OFFLOAD_RSS_HASH;
static const uint64_t MBUF_F_RX_RSS_HASH = RTE_MBUF_F_RX_RSS_HASH;
static const uint64_t MBUF_F_INDIRECT = RTE_MBUF_F_INDIRECT;
static const uint64_t MBUF_F_EXTERNAL = RTE_MBUF_F_EXTERNAL;
static const uint32_t ETH_SPEED_UNKNOWN = RTE_ETH_SPEED_NUM_UNKNOWN;
