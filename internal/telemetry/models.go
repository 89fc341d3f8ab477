package telemetry

import (
	"strings"
	"sync"
)

// otherModel is the label of models that have none of their own.
const otherModel = "other"

// models bounds the values of the model labels.
type models struct {
	limit int
	known sync.Map // name to nothing
	mu    sync.Mutex
	count int
}

func newModels(limit int) *models {
	if limit == 0 {
		limit = DefaultMaxModels
	}
	return &models{limit: limit}
}

// label gives the label of a model's name: the name itself for the first models
// that were learned, "other" for the rest, "" for none.
func (m *models) label(name string, learn bool) string {
	if name == "" {
		return ""
	}
	if _, ok := m.known.Load(name); ok {
		return name
	}
	if learn && isClaude(name) && m.learn(name) {
		return name
	}
	return otherModel
}

func (m *models) learn(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.known.Load(name); ok {
		return true
	}
	if m.count >= m.limit {
		return false
	}
	m.count++
	m.known.Store(strings.Clone(name), nil) // not the whole text that it is part of
	return true
}

// isClaude says whether a name looks like one of the models that the service
// serves: it begins with claude and holds what such names are made of.
func isClaude(name string) bool {
	if !strings.HasPrefix(name, "claude") || len(name) > 64 {
		return false
	}
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._:@[]", c) >= 0:
		default:
			return false
		}
	}
	return true
}
