package processapi

import (
	"net/http"
	"strconv"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/protocol"
)

// The providers of this service, as its former clients know them: the CLI and
// the Messages API.
const (
	ProviderClaudeCode = "claudecode"
	ProviderAnthropic  = "anthropic"
)

// Provider is one way in which answers are made.
type Provider struct {
	Name        string // as in the path
	DisplayName string // for people
	Backend     string // its name in X-Claude-Backend
	// Available says whether it can serve now. It does no I/O.
	Available func() bool
	Models    []ProviderModel
}

// ProviderModel is a model that a provider serves.
type ProviderModel struct {
	ID            string // an alias or a full id
	DisplayName   string // for people
	ContextWindow int    // tokens; 0: not known
	MaxTokens     int    // the most that an answer may have; 0: not known
}

func (h *Handler) serveProviders(w http.ResponseWriter, _ *http.Request, call *gateway.Call) error {
	dst := []byte(`{"providers":[`)
	for i, p := range h.options.Providers {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = protocol.AppendText(append(dst, `{"name":`...), p.Name)
		dst = protocol.AppendText(append(dst, `,"display_name":`...), p.DisplayName)
		dst = protocol.AppendText(append(dst, `,"backend":`...), p.Backend)
		dst = strconv.AppendBool(append(dst, `,"available":`...), p.Available())
		dst = append(dst, `,"models":[`...)
		for j, m := range p.Models {
			if j > 0 {
				dst = append(dst, ',')
			}
			dst = protocol.AppendText(dst, m.ID)
		}
		dst = append(dst, "]}"...)
	}
	protocol.SetHeader(w.Header(), call)
	return protocol.WriteJSON(w, http.StatusOK, append(dst, "]}"...))
}

func (h *Handler) serveProviderModels(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	name := r.PathValue("provider")
	for _, p := range h.options.Providers {
		if p.Name != name {
			continue
		}
		dst := protocol.AppendText([]byte(`{"provider":`), p.Name)
		dst = strconv.AppendBool(append(dst, `,"available":`...), p.Available())
		dst = append(dst, `,"models":[`...)
		for i, m := range p.Models {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = m.append(dst)
		}
		protocol.SetHeader(w.Header(), call)
		return protocol.WriteJSON(w, http.StatusOK, append(dst, "]}"...))
	}
	return notFound("provider", "provider: there is none of this name; there are claudecode and anthropic")
}

func (m *ProviderModel) append(dst []byte) []byte {
	dst = protocol.AppendText(append(dst, `{"id":`...), m.ID)
	dst = protocol.AppendText(append(dst, `,"name":`...), m.DisplayName)
	for _, field := range [...]struct {
		name  string
		value int
	}{{`,"context_window":`, m.ContextWindow}, {`,"max_tokens":`, m.MaxTokens}} {
		dst = append(dst, field.name...)
		if field.value == 0 {
			dst = append(dst, "null"...)
		} else {
			dst = strconv.AppendInt(dst, int64(field.value), 10)
		}
	}
	return append(dst, '}')
}
