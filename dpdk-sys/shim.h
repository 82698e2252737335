/*
 * The static inlines of DPDK that the gateway calls, as functions: a symbol is all that Rust can call.
 * Each is called once a burst, never once a packet. The comment names what is wrapped when the name does not.
 */
#ifndef GATEWAY_SHIM_H
#define GATEWAY_SHIM_H

#include <stddef.h>
#include <stdint.h>

struct rte_mbuf;
struct rte_mempool;
struct rte_ring;

uint16_t shim_eth_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);
uint16_t shim_eth_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);

/* All of `count` (0) or none (negative). */
int shim_pktmbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int count);

/* Single producer, single consumer: rte_ring_sp_enqueue_burst and rte_ring_sc_dequeue_burst. */
unsigned int shim_ring_enqueue(struct rte_ring *ring, struct rte_mbuf *const *mbufs, unsigned int count);
unsigned int shim_ring_dequeue(struct rte_ring *ring, struct rte_mbuf **mbufs, unsigned int count);
unsigned int shim_ring_count(const struct rte_ring *ring);

uint64_t shim_rdtsc(void);
/* This thread's lcore, or LCORE_ID_ANY. */
unsigned int shim_lcore_id(void);
/* This thread's rte_errno. */
int shim_errno(void);

/* rte_softrss over `words` host-order words; `key` holds 4 * (words + 1) bytes at least, of any alignment. */
uint32_t shim_softrss(const uint32_t *tuple, uint32_t words, const uint8_t *key);

/* rte_eth_link_get_nowait: struct rte_eth_link has bit fields, and another shape since 24.11. */
struct shim_link {
	uint32_t speed_mbps; /* UINT32_MAX: unknown */
	uint8_t up;
	uint8_t full_duplex;
};
int shim_eth_link(uint16_t port, struct shim_link *link);

/* Sends every DPDK log line to `line`: its level (RTE_LOG_*) and `length` bytes, not terminated. 0 or -1. */
typedef void (*shim_log_line)(uint32_t level, const char *text, size_t length);
int shim_log_to(shim_log_line line);

#endif
