package simulator

import (
	"bytes"
	"hash/maphash"
	"sync"

	"claude-code-api-service/internal/message"
)

// bounded is a map that forgets its oldest key when it is full. It isn't safe
// for concurrent use.
type bounded struct {
	limit  int
	values map[uint64]int
	order  []uint64 // a ring once it is full
	oldest int
}

func newBounded(limit int) bounded {
	return bounded{limit: limit, values: map[uint64]int{}}
}

func (b *bounded) set(key uint64, value int) {
	if _, known := b.values[key]; !known {
		if len(b.order) < b.limit {
			b.order = append(b.order, key)
		} else {
			delete(b.values, b.order[b.oldest])
			b.order[b.oldest] = key
			b.oldest = (b.oldest + 1) % b.limit
		}
	}
	b.values[key] = value
}

// memory is what outlives a request.
type memory struct {
	mu       sync.Mutex
	prefixes bounded // cached prompt prefixes
	failed   bounded // how often a prompt was failed
}

func newMemory() memory {
	return memory{prefixes: newBounded(cachePrefixes), failed: newBounded(failedPrompts)}
}

func (m *memory) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.prefixes, m.failed = newBounded(cachePrefixes), newBounded(failedPrompts)
}

// fails counts a failure of the prompt and says whether it is still due; times
// is negative when every request fails.
func (m *memory) fails(prompt uint64, times int) bool {
	if times < 0 {
		return true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.failed.values[prompt]
	if n >= times {
		return false
	}
	m.failed.set(prompt, n+1)
	return true
}

// promptTokens counts everything that the model reads.
func (x *exchange) promptTokens() int64 {
	text, flat := 0, 0
	for _, units := range x.sections() {
		for i := range units {
			text += units[i].bytes
			flat += units[i].flat
		}
	}
	return int64(max(1, tokensOf(text)+flat))
}

func (x *exchange) sections() [3][]unit {
	return [3][]unit{x.req.toolUnits, x.req.systemUnits, x.req.turnUnits}
}

// promptUsage counts the prompt, apart by what was read from the cache, what
// was written to it and the rest.
func (x *exchange) promptUsage() message.Usage {
	total := x.promptTokens()
	if units := x.req.turnUnits; x.req.autoCache.set && len(units) > 0 {
		last := &units[len(units)-1].mark
		last.set, last.hour = true, x.req.autoCache.hour
		x.req.marked = true
	}
	if !x.req.marked {
		return message.Usage{InputTokens: total}
	}
	m := &x.s.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	var h maphash.Hash
	h.SetSeed(x.s.seed)
	_, _ = h.Write(x.req.model.of(x.arena))
	var read, marked, hour int64
	text, flat := 0, 0
	for section, units := range x.sections() {
		for i := range units {
			u := &units[i]
			_ = h.WriteByte(byte(section))
			_ = h.WriteByte(u.role)
			hashUnit(&h, x.body, u)
			text += u.bytes
			flat += u.flat
			tokens := int64(tokensOf(text) + flat)
			key := h.Sum64()
			// As in the API, a prefix that was cached is found although the
			// mark has moved on to a later block.
			if _, cached := m.prefixes.values[key]; cached {
				read = tokens
			}
			if u.mark.set {
				marked = tokens
				if u.mark.hour {
					hour = tokens
				}
				m.prefixes.set(key, 0)
			}
		}
	}
	// What was found behind the last mark isn't asked for.
	read = min(read, marked)
	// What is written up to the last mark of an hour lives an hour.
	written, hour := marked-read, max(0, hour-read)
	return message.Usage{
		InputTokens: total - marked, CacheReadInputTokens: read, CacheCreationInputTokens: written,
		CacheCreation: message.CacheCreation{Ephemeral5mInputTokens: written - hour, Ephemeral1hInputTokens: hour},
	}
}

// hashUnit hashes a block without its cache_control, which doesn't belong to
// the prompt: a client moves it from block to block. Otherwise the bytes count.
func hashUnit(h *maphash.Hash, body []byte, u *unit) {
	if u.mark.at.empty() {
		_, _ = h.Write(u.raw.of(body))
		return
	}
	rest := body[u.mark.at.end:u.raw.end]
	if body[u.mark.at.start-1] == '{' {
		// The first member: the comma behind it goes with it.
		rest = bytes.TrimPrefix(bytes.TrimLeft(rest, " \t\r\n"), []byte(","))
	}
	_, _ = h.Write(body[u.raw.start:u.mark.at.start])
	_, _ = h.Write(rest)
}
