package monitor

import (
	"testing"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
)

// Whoever follows those that have ended misses none of them, also not one that was still
// being written when a later one was there.
func TestRecentLeavesNoGap(t *testing.T) {
	m := New(Options{})
	clock := latency.Start()
	add := func(id string) { m.past.add(m, &gateway.Entry{RequestID: id, Clock: &clock}) }
	add("first")
	slow := m.past.last.Add(1) // its place isn't filled yet
	add("third")
	if seen := m.Recent(0, 10); len(seen) != 1 || seen[0].ID != "first" {
		t.Errorf("while the second is being written: %+v", seen)
	}
	m.past.places[slow].request = Request{Seq: slow, ID: "second"}
	if seen := m.Recent(1, 10); len(seen) != 2 || seen[0].ID != "third" || seen[1].ID != "second" {
		t.Errorf("then: %+v", seen)
	}
}
