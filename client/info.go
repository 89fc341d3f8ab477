package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Recommendation is the model that the automatic choice takes for a prompt.
type Recommendation struct {
	Model     string `json:"recommended_model"` // an alias
	Reasoning string `json:"reasoning"`         // which rule spoke
	Budget    struct {
		Limit     *int64 `json:"limit"`     // tokens; nil: no limit
		Remaining *int64 `json:"remaining"` // tokens; nil: no limit
		Status    string `json:"status"`    // unlimited, ok, low or spent
	} `json:"budget_status"`
}

// Route recommends a model for a prompt whose whole context has so many tokens; 0: it
// isn't known. Nothing is generated, and nothing counts against the key's limits.
func (c *Client) Route(ctx context.Context, prompt string, contextTokens int) (*Recommendation, error) {
	r := &Recommendation{}
	body := struct {
		Prompt      string `json:"prompt"`
		ContextSize int    `json:"context_size"`
	}{prompt, contextTokens}
	if err := c.ask(ctx, http.MethodPost, "/v1/route", body, r, newCall(nil)); err != nil {
		return nil, err
	}
	return r, nil
}

// Provider is one way in which answers are made.
type Provider struct {
	Name        string   `json:"name"`
	DisplayName string   `json:"display_name"`
	Backend     string   `json:"backend"` // BackendCLI or BackendDirect
	Available   bool     `json:"available"`
	Models      []string `json:"models"`
}

// Providers lists them.
func (c *Client) Providers(ctx context.Context) ([]Provider, error) {
	var read struct {
		Providers []Provider `json:"providers"`
	}
	err := c.ask(ctx, http.MethodGet, "/v1/providers", nil, &read, newCall(nil))
	return read.Providers, err
}

// ProviderModel is a model that a provider serves.
type ProviderModel struct {
	ID            string `json:"id"`
	Name          string `json:"name"`
	ContextWindow *int64 `json:"context_window"` // tokens; nil: not known
	MaxTokens     *int64 `json:"max_tokens"`     // of an answer; nil: not known
}

// ProviderModels lists the models of a provider.
func (c *Client) ProviderModels(ctx context.Context, provider string) ([]ProviderModel, error) {
	var read struct {
		Models []ProviderModel `json:"models"`
	}
	err := c.ask(ctx, http.MethodGet, "/v1/providers/"+url.PathEscape(provider)+"/models", nil, &read, newCall(nil))
	return read.Models, err
}

// Model is one that the service knows.
type Model struct {
	ID          string    `json:"id"` // an alias or a full id
	DisplayName string    `json:"display_name"`
	OwnedBy     string    `json:"owned_by"`
	CreatedAt   time.Time `json:"created_at"`
}

// Models lists all of them.
func (c *Client) Models(ctx context.Context) ([]Model, error) {
	var read struct {
		Data []Model `json:"data"`
	}
	err := c.ask(ctx, http.MethodGet, "/v1/models", nil, &read, newCall(nil))
	return read.Data, err
}

// The periods of UsageReport.
const (
	PeriodDay   = "day"
	PeriodWeek  = "week"
	PeriodMonth = "month"
)

// How UsageReport may be grouped besides by model.
const (
	GroupByKey = "key"
	GroupByDay = "day"
)

// UsageTotal is a sum of the ledger.
type UsageTotal struct {
	Tokens                   int64   `json:"tokens"` // of input and output
	Cost                     float64 `json:"cost"`   // US dollars
	InputTokens              int64   `json:"input_tokens"`
	OutputTokens             int64   `json:"output_tokens"`
	CacheReadInputTokens     int64   `json:"cache_read_input_tokens"`
	CacheCreationInputTokens int64   `json:"cache_creation_input_tokens"`
	Requests                 int64   `json:"requests"`
	UnpricedRequests         int64   `json:"unpriced_requests"` // whose price isn't known
	// ChargedTokens and ChargedUSD are what budgets were charged beside the rest, for
	// attempts of which too little is known.
	ChargedTokens int64   `json:"charged_tokens,omitzero"`
	ChargedUSD    float64 `json:"charged_usd,omitzero"`
}

// UsageReport is what the key's project has used in a period.
type UsageReport struct {
	ProjectID                string                `json:"project_id"`
	Period                   string                `json:"period"`
	Since                    time.Time             `json:"since"`
	TotalTokens              int64                 `json:"total_tokens"` // of input and output
	TotalCost                float64               `json:"total_cost"`   // US dollars
	InputTokens              int64                 `json:"input_tokens"`
	OutputTokens             int64                 `json:"output_tokens"`
	CacheReadInputTokens     int64                 `json:"cache_read_input_tokens"`
	CacheCreationInputTokens int64                 `json:"cache_creation_input_tokens"`
	Requests                 int64                 `json:"requests"`
	UnpricedRequests         int64                 `json:"unpriced_requests"`
	ChargedTokens            int64                 `json:"charged_tokens,omitzero"` // as in UsageTotal
	ChargedUSD               float64               `json:"charged_usd,omitzero"`
	ByModel                  map[string]UsageTotal `json:"by_model"`
	ByKey                    map[string]UsageTotal `json:"by_key,omitzero"` // with GroupByKey
	ByDay                    map[string]UsageTotal `json:"by_day,omitzero"` // with GroupByDay
	Limit                    *int64                `json:"limit"`           // tokens; nil: none
	Remaining                *int64                `json:"remaining"`       // tokens; nil: no limit
}

// Usage reports a period, PeriodMonth where it is "", grouped by model and by groupBy,
// which may be "".
func (c *Client) Usage(ctx context.Context, period, groupBy string) (*UsageReport, error) {
	values := url.Values{}
	if period != "" {
		values.Set("period", period)
	}
	if groupBy != "" {
		values.Set("group_by", groupBy)
	}
	path := "/v1/usage"
	if len(values) > 0 {
		path += "?" + values.Encode()
	}
	r := &UsageReport{}
	if err := c.ask(ctx, http.MethodGet, path, nil, r, newCall(nil)); err != nil {
		return nil, err
	}
	return r, nil
}

// Capabilities are what the key's tasks and sessions may use.
type Capabilities struct {
	Agents []Agent  `json:"agents"`
	Skills []Skill  `json:"skills"`
	Tools  []string `json:"tools"`
}

// Agent is one that tasks may start.
type Agent struct {
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Origin      string   `json:"origin"` // where it comes from: built-in, home or project
	Tools       []string `json:"tools"`  // "*" is all
	Model       string   `json:"model"`  // "inherit" is the one of who starts it
}

// Skill is one that tasks may use.
type Skill struct {
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Origin      string   `json:"origin"`
	Tools       []string `json:"tools"` // that it says it needs
}

// Capabilities lists them, also those of the project in a folder that the key may work
// in; "": none.
func (c *Client) Capabilities(ctx context.Context, workingDirectory string) (*Capabilities, error) {
	path := "/v1/capabilities"
	if workingDirectory != "" {
		path += "?" + url.Values{"working_directory": {workingDirectory}}.Encode()
	}
	r := &Capabilities{}
	if err := c.ask(ctx, http.MethodGet, path, nil, r, newCall(nil)); err != nil {
		return nil, err
	}
	return r, nil
}

// The states of a service and of its parts.
const (
	HealthOK       = "ok"
	HealthDegraded = "degraded"
	HealthDown     = "down"
	HealthOff      = "off" // not configured: degrades nothing
)

// Health is the state of a service that answers.
type Health struct {
	Status   string                   `json:"status"` // HealthOK or HealthDegraded
	Version  string                   `json:"version"`
	Uptime   float64                  `json:"uptime_seconds"`
	Services map[string]ServiceHealth `json:"services"`
}

// ServiceHealth is the state of one part.
type ServiceHealth struct {
	Status string `json:"status"`
	Detail string `json:"detail"`
}

// Health asks how the service is. It needs no key.
func (c *Client) Health(ctx context.Context, options ...Option) (*Health, error) {
	h := &Health{}
	if err := c.ask(ctx, http.MethodGet, "/health", nil, h, newCall(options)); err != nil {
		return nil, err
	}
	return h, nil
}

// Readiness is whether a service takes requests.
type Readiness struct {
	Ready  bool   `json:"ready"`
	Reason string `json:"reason"` // "" when it is ready
}

// Ready asks whether the service takes requests. One that says no is no error. It needs
// no key.
func (c *Client) Ready(ctx context.Context) (*Readiness, error) {
	r := &Readiness{}
	o := newCall(nil)
	o.accept = http.StatusServiceUnavailable
	if err := c.ask(ctx, http.MethodGet, "/ready", nil, r, o); err != nil {
		return nil, err
	}
	return r, nil
}
