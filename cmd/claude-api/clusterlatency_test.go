package main

import (
	"flag"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"claude-code-api-service/internal/postgres/pgtest"
)

var clusterLatency = flag.Bool("cluster-latency", false, "whether TestClusterLatency measures")

// mostRatio is how much longer a request may take through one of several nodes than
// through one that is alone, at the 50th percentile.
const mostRatio = 1.15

// TestClusterLatency measures requests through three nodes on one database, in turn,
// against requests through a node that has a database of the same server to itself, of
// keys with limits and budgets of each kind. They are made one after the other, to all
// nodes in turn, so that whatever else the machine does strikes both.
func TestClusterLatency(t *testing.T) {
	if !*clusterLatency {
		t.Skip("by hand: make bench-cluster")
	}
	const warm, rounds = 200, 3_000
	up := newUpstream(t)
	limited := func(nodes ...*service) {
		t.Helper()
		s := nodes[0]
		key := command(t, s.env, "keys", "create", "--data-dir="+s.data, "--project-id=measured", "-q", "--rate-limit=1000000",
			"--tokens-per-minute=1000000000", "--concurrent-requests=100", "--budget-tokens-month=1000000000", "--budget-usd-day=100000")
		for _, s := range nodes {
			s.key = key
		}
	}
	alone := serveOnPostgres(t, pgtest.Database(t), up.url).ready(t)
	limited(alone)
	address := pgtest.Database(t)
	var together []*service
	for range clusterNodes {
		together = append(together, serveOnPostgres(t, address, up.url).ready(t))
	}
	limited(together...)
	// Each node gets as many requests as each other, so that none is warmer.
	nodes := append([]*service{alone}, together...)
	took := map[bool][]time.Duration{}
	for n := range warm + rounds {
		for i := range nodes {
			s := nodes[(n+i)%len(nodes)]
			began := time.Now()
			if a := s.post(t, "/v1/messages", messagesBody("measured")); a.status != http.StatusOK {
				t.Fatalf("%d %s", a.status, a.body)
			}
			if n >= warm {
				took[s == alone] = append(took[s == alone], time.Since(began))
			}
		}
	}
	at := func(single bool, share float64) time.Duration {
		list := slices.Sorted(slices.Values(took[single]))
		return list[int(share*float64(len(list)-1))]
	}
	ratio := float64(at(false, 0.5)) / float64(at(true, 0.5))
	fmt.Printf("one node alone:      p50 %v, p99 %v\nthree nodes in turn: p50 %v, p99 %v\nratio at p50: %.3f (asked: under %.2f)\n",
		at(true, 0.5), at(true, 0.99), at(false, 0.5), at(false, 0.99), ratio, mostRatio)
	if ratio >= mostRatio {
		t.Errorf("the ratio is %.3f", ratio)
	}
}
