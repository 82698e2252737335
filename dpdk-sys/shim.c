#define _GNU_SOURCE
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <rte_thash.h>

#include "shim.h"

/* What src/mbuf.rs relies on: DPDK keeps these places within a release series, and this build checks them. */
#define AT(field, offset) \
	_Static_assert(offsetof(struct rte_mbuf, field) == (offset), "rte_mbuf." #field " is elsewhere: see dpdk-sys/src/mbuf.rs")
#define SIZE(field, size) \
	_Static_assert(sizeof(((struct rte_mbuf *)0)->field) == (size), "rte_mbuf." #field " has another size: see dpdk-sys/src/mbuf.rs")
AT(buf_addr, 0);
AT(data_off, 16);
AT(refcnt, 18);
AT(nb_segs, 20);
AT(port, 22);
AT(ol_flags, 24);
AT(packet_type, 32);
AT(pkt_len, 36);
AT(data_len, 40);
AT(vlan_tci, 42);
AT(hash.rss, 44);
AT(hash.fdir.hi, 48);
AT(vlan_tci_outer, 52);
AT(buf_len, 54);
AT(pool, 56);
SIZE(data_off, 2);
SIZE(nb_segs, 2);
SIZE(port, 2);
SIZE(ol_flags, 8);
SIZE(pkt_len, 4);
SIZE(data_len, 2);
SIZE(hash.rss, 4);
SIZE(hash.fdir.hi, 4);
SIZE(buf_len, 2);
_Static_assert(sizeof(struct rte_mbuf) == 128, "rte_mbuf is not two cache lines");
_Static_assert(RTE_PKTMBUF_HEADROOM >= 64, "too little headroom to prepend a link-layer header");

uint16_t shim_eth_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_rx_burst(port, queue, mbufs, count);
}

uint16_t shim_eth_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, mbufs, count);
}

int shim_pktmbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int count)
{
	return rte_pktmbuf_alloc_bulk(pool, mbufs, count);
}

unsigned int shim_ring_enqueue(struct rte_ring *ring, struct rte_mbuf *const *mbufs, unsigned int count)
{
	return rte_ring_sp_enqueue_burst(ring, (void *const *)mbufs, count, NULL);
}

unsigned int shim_ring_dequeue(struct rte_ring *ring, struct rte_mbuf **mbufs, unsigned int count)
{
	return rte_ring_sc_dequeue_burst(ring, (void **)mbufs, count, NULL);
}

unsigned int shim_ring_count(const struct rte_ring *ring)
{
	return rte_ring_count(ring);
}

uint64_t shim_rdtsc(void)
{
	return rte_rdtsc();
}

unsigned int shim_lcore_id(void)
{
	return rte_lcore_id();
}

int shim_errno(void)
{
	return rte_errno;
}

uint32_t shim_softrss(const uint32_t *tuple, uint32_t words, const uint8_t *key)
{
	uint32_t hash = 0;

	/* One word at a time, so that neither alignment nor a long tuple matters: the hash is linear over its input. */
	for (uint32_t i = 0; i < words; i++) {
		uint32_t word = tuple[i];
		uint32_t window[2];

		memcpy(window, key + 4 * (size_t)i, sizeof(window));
		hash ^= rte_softrss(&word, 1, (const uint8_t *)window);
	}
	return hash;
}

int shim_eth_link(uint16_t port, struct shim_link *out)
{
	struct rte_eth_link link;
	int ret;

	memset(&link, 0, sizeof(link));
	ret = rte_eth_link_get_nowait(port, &link);
	if (ret == 0) {
		out->speed_mbps = link.link_speed;
		out->up = link.link_status == RTE_ETH_LINK_UP;
		out->full_duplex = link.link_duplex == RTE_ETH_LINK_FULL_DUPLEX;
	}
	return ret;
}

static ssize_t log_write(void *cookie, const char *text, size_t length)
{
	shim_log_line line = (shim_log_line)cookie;

	line((uint32_t)rte_log_cur_msg_loglevel(), text, length);
	return (ssize_t)length;
}

int shim_log_to(shim_log_line line)
{
	cookie_io_functions_t functions = { .write = log_write };
	FILE *stream = fopencookie((void *)line, "w", functions);

	if (stream == NULL)
		return -1;
	setvbuf(stream, NULL, _IOLBF, 1024);
	return rte_openlog_stream(stream);
}
