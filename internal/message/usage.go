package message

// Usage counts the tokens of one answer, and names what else its price depends
// on, in the words of the Messages API (anthropic-sdk-go v1.84.0, Usage and
// BetaUsage). InputTokens leaves out what was read from or written to the cache.
// Its values can be compared.
type Usage struct {
	InputTokens              int64 `json:"input_tokens"`
	OutputTokens             int64 `json:"output_tokens"`
	CacheReadInputTokens     int64 `json:"cache_read_input_tokens"`
	CacheCreationInputTokens int64 `json:"cache_creation_input_tokens"`
	// CacheCreation splits CacheCreationInputTokens by how long they are kept; zero
	// where the upstream doesn't say.
	CacheCreation CacheCreation `json:"cache_creation,omitzero"`
	ServerToolUse ServerToolUse `json:"server_tool_use,omitzero"`
	// ServiceTier (standard, priority, batch), InferenceGeo (global, us) and Speed
	// (standard, fast) are "" where the upstream doesn't say.
	ServiceTier  string `json:"service_tier,omitzero"`
	InferenceGeo string `json:"inference_geo,omitzero"`
	Speed        string `json:"speed,omitzero"`
	// Apart says that the upstream has counted something of the answer outside of
	// these numbers, by the price of another model or none: they aren't all that it
	// costs.
	Apart bool `json:"-"`
}

// CacheCreation is the tokens written to the cache by the lifetime of the entry.
type CacheCreation struct {
	Ephemeral5mInputTokens int64 `json:"ephemeral_5m_input_tokens"`
	Ephemeral1hInputTokens int64 `json:"ephemeral_1h_input_tokens"`
}

// ServerToolUse counts what tools did that run at the API.
type ServerToolUse struct {
	WebSearchRequests int64 `json:"web_search_requests"`
	WebFetchRequests  int64 `json:"web_fetch_requests"`
}

// Total is what budgets count: input and output, without the cache.
func (u Usage) Total() int64 { return u.InputTokens + u.OutputTokens }

// Add adds what another answer has used. ServiceTier, InferenceGeo and Speed stay.
func (u *Usage) Add(v Usage) {
	u.InputTokens += v.InputTokens
	u.OutputTokens += v.OutputTokens
	u.CacheReadInputTokens += v.CacheReadInputTokens
	u.CacheCreationInputTokens += v.CacheCreationInputTokens
	u.CacheCreation.Ephemeral5mInputTokens += v.CacheCreation.Ephemeral5mInputTokens
	u.CacheCreation.Ephemeral1hInputTokens += v.CacheCreation.Ephemeral1hInputTokens
	u.ServerToolUse.WebSearchRequests += v.ServerToolUse.WebSearchRequests
	u.ServerToolUse.WebFetchRequests += v.ServerToolUse.WebFetchRequests
	u.Apart = u.Apart || v.Apart
}

// Prompt is everything that the model read.
func (u Usage) Prompt() int64 {
	return u.InputTokens + u.CacheReadInputTokens + u.CacheCreationInputTokens
}

// CacheWrites gives the tokens written to the cache by lifetime; their sum is
// CacheCreationInputTokens. A stream's last count may be more than the split at its
// start: what isn't split is of the one lifetime that the split knows, and five
// minutes, the default, where it knows none. Between two it can't be told: false.
func (u Usage) CacheWrites() (fiveMinutes, hour int64, ok bool) {
	all := max(u.CacheCreationInputTokens, 0)
	hour = min(max(u.CacheCreation.Ephemeral1hInputTokens, 0), all)
	fiveMinutes = min(max(u.CacheCreation.Ephemeral5mInputTokens, 0), all-hour)
	switch rest := all - hour - fiveMinutes; {
	case rest == 0:
		return fiveMinutes, hour, true
	case hour == 0:
		return all, 0, true
	case fiveMinutes == 0:
		return 0, all, true
	}
	return 0, 0, false
}

// usagePatch tells a field that is absent from one that is zero: message_delta
// repeats only some.
type usagePatch struct {
	InputTokens              *int64         `json:"input_tokens"`
	OutputTokens             *int64         `json:"output_tokens"`
	CacheReadInputTokens     *int64         `json:"cache_read_input_tokens"`
	CacheCreationInputTokens *int64         `json:"cache_creation_input_tokens"`
	CacheCreation            *CacheCreation `json:"cache_creation"`
	ServerToolUse            *ServerToolUse `json:"server_tool_use"`
	ServiceTier              string         `json:"service_tier"`
	InferenceGeo             string         `json:"inference_geo"`
	Speed                    string         `json:"speed"`
	// Iterations of the type message are in the numbers beside them; a compaction
	// and an adviser's answers aren't.
	Iterations []struct {
		Type string `json:"type"`
	} `json:"iterations"`
}

// iterationMessage is the type of the iterations that Usage's numbers hold.
const iterationMessage = "message"

func (p *usagePatch) apply(u *Usage) {
	set(&u.InputTokens, p.InputTokens)
	set(&u.OutputTokens, p.OutputTokens)
	set(&u.CacheReadInputTokens, p.CacheReadInputTokens)
	set(&u.CacheCreationInputTokens, p.CacheCreationInputTokens)
	set(&u.CacheCreation, p.CacheCreation)
	set(&u.ServerToolUse, p.ServerToolUse)
	for _, word := range [...]struct {
		to   *string
		from string
	}{{&u.ServiceTier, p.ServiceTier}, {&u.InferenceGeo, p.InferenceGeo}, {&u.Speed, p.Speed}} {
		if word.from != "" {
			*word.to = word.from
		}
	}
	for _, i := range p.Iterations {
		u.Apart = u.Apart || i.Type != iterationMessage
	}
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}
