package protocol

import (
	"testing"

	"claude-code-api-service/internal/message"
)

func TestThink(t *testing.T) {
	all := []string{"low", "medium", "high", "xhigh", "max"}
	always := &message.Rules{Thinking: []string{"adaptive"}, ThinksByDefault: true, Efforts: all}
	between := &message.Rules{Thinking: []string{"adaptive", "between_tools"}, ThinksByDefault: true, Efforts: all}
	asked := &message.Rules{Thinking: []string{"adaptive", "enabled", "disabled"}, Efforts: []string{"low", "medium", "high", "max"}}
	budget := &message.Rules{Thinking: []string{"enabled", "disabled"}, Efforts: []string{}}
	never := &message.Rules{Thinking: []string{}}
	unknown := &message.Rules{}
	for name, c := range map[string]struct {
		effort, off string
		rules       *message.Rules
		want        Thinking
	}{
		"nothing asked, the model thinks only when asked":  {"", "", asked, Thinking{}},
		"nothing asked, the model isn't known":             {"", "", unknown, Thinking{}},
		"nothing asked, the model can leave it":            {"", "", between, Thinking{Type: "between_tools"}},
		"nothing asked, the model always thinks":           {"", "", always, Thinking{Room: 2_048}},
		"none, the model always thinks":                    {"none", "", always, Thinking{Effort: "low", Room: 2_048, Warning: "the model always thinks; it was asked to think little"}},
		"minimal, the model always thinks":                 {"minimal", "", always, Thinking{Effort: "low", Room: 2_048}},
		"adaptive with an effort":                          {"high", "", between, Thinking{Type: "adaptive", Effort: "high", Room: 24_576}},
		"adaptive, the model isn't known":                  {"medium", "", unknown, Thinking{Type: "adaptive", Effort: "medium", Room: 8_192}},
		"an effort that the model doesn't know":            {"xhigh", "", asked, Thinking{Type: "adaptive", Effort: "high", Room: 31_999, Warning: "the model doesn't know xhigh; it was set to high"}},
		"a budget":                                         {"low", "", budget, Thinking{Type: "enabled", Budget: 2_048, Room: 2_048}},
		"a model that never thinks":                        {"low", "", never, Thinking{Warning: "the model doesn't think"}},
		"it can't be had here":                             {"low", "is off here", between, Thinking{Type: "between_tools", Warning: "is off here"}},
		"it can't be had here and wasn't asked for either": {"", "is off here", asked, Thinking{}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Think(c.effort, c.rules, c.off); got != c.want {
				t.Errorf("Think = %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestAppendThinking(t *testing.T) {
	for name, c := range map[string]struct {
		thinking Thinking
		format   string
		want     string
	}{
		"nothing":          {Thinking{}, "", ``},
		"a budget":         {Thinking{Type: "enabled", Budget: 2_048}, "", `"thinking":{"type":"enabled","budget_tokens":2048},`},
		"shown":            {Thinking{Type: "adaptive", Display: "summarized", Effort: "low"}, "", `"thinking":{"type":"adaptive","display":"summarized"},"output_config":{"effort":"low"},`},
		"off":              {Thinking{Type: "disabled", Display: "summarized"}, `{}`, `"thinking":{"type":"disabled"},"output_config":{"format":{}},`},
		"both of a config": {Thinking{Effort: "max"}, `{"a":1}`, `"output_config":{"effort":"max","format":{"a":1}},`},
	} {
		t.Run(name, func(t *testing.T) {
			var format []byte
			if c.format != "" {
				format = []byte(c.format)
			}
			if got := string(AppendOutputConfig(c.thinking.Append(nil), c.thinking.Effort, format)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}
