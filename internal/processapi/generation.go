package processapi

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
)

// minBudget is the least budget_tokens that the Messages API takes.
const minBudget = 1_024

// maxUserID is the Messages API's limit for metadata.user_id, in bytes.
const maxUserID = 256

// generation is how an answer is to be made, in the words of the Messages API.
type generation struct {
	maxTokens   int64    // 0: the default
	temperature *float64 // nil: the default
	topP        *float64
	topK        int64 // 0: none
	stops       []jsontext.Value
	thinking    thinking
	effort      string
	user        jsontext.Value
}

// thinking is a member thinking of the Messages API.
type thinking struct {
	own    jsontext.Value // as it came; nil where it is absent
	kind   string
	budget int64
}

func (p *processRequest) readStops(s *protocol.Scanner) error {
	if s.Kind() == '[' {
		return s.Array(func(int) error { return p.readStop(s) })
	}
	return p.readStop(s)
}

func (p *processRequest) readStop(s *protocol.Scanner) error {
	stop, err := s.Text()
	if err != nil || stop == nil {
		return err
	}
	if strings.TrimSpace(protocol.Unquote(stop)) == "" {
		// The Messages API refuses such a sequence.
		p.warn("additional_params.stop", "a sequence of nothing but white space can't be used")
		return nil
	}
	p.stops = append(p.stops, stop)
	return nil
}

func (p *processRequest) readThinking(s *protocol.Scanner) error {
	if s.Kind() == 'n' {
		return s.Skip()
	}
	start := s.Offset()
	err := s.Object(func(name []byte) (err error) {
		switch string(name) {
		case "type":
			var kind jsontext.Value
			kind, err = s.Text()
			p.thinking.kind = protocol.Unquote(kind)
		case "budget_tokens":
			p.thinking.budget, err = s.Count(1)
		default:
			err = s.Skip()
		}
		return err
	})
	if err == nil && p.thinking.kind == "" {
		err = s.Invalid("type", "field required")
	}
	p.thinking.own = s.Since(start)
	return err
}

func (p *processRequest) readEffort(s *protocol.Scanner) error {
	effort, err := s.Text()
	p.effort = protocol.Unquote(effort)
	if err == nil && p.effort != "" && !slices.Contains(protocol.Efforts(), p.effort) {
		return s.Invalid("", "must be one of "+strings.Join(protocol.Efforts(), ", "))
	}
	return err
}

// appendGeneration appends the members that say how the answer is made, each with a comma
// behind it, and output_config with the given format. off says why the request
// can't have thinking, "" that it can.
func (g *generation) appendGeneration(dst []byte, rules *message.Rules, format jsontext.Value, off string, w *warnings) []byte {
	think, own := g.think(rules, off, w)
	maxTokens := g.limit(&think, rules, w)
	if own != nil {
		dst = append(append(append(dst, `"thinking":`...), own...), ',')
	} else {
		dst = think.Append(dst)
	}
	dst = append(strconv.AppendInt(append(dst, `"max_tokens":`...), maxTokens, 10), ',')
	dst = g.appendSampling(dst, rules, think.On(), w)
	if len(g.stops) > 0 {
		dst = append(dst, `"stop_sequences":[`...)
		for i, stop := range g.stops {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, stop...)
		}
		dst = append(dst, "],"...)
	}
	if user := protocol.Unquote(g.user); len(user) > maxUserID {
		w.warn("additional_params.user", "is longer than "+strconv.Itoa(maxUserID)+" bytes and isn't sent on")
	} else if user != "" {
		dst = append(append(append(dst, `"metadata":{"user_id":`...), g.user...), "},"...)
	}
	return protocol.AppendOutputConfig(dst, think.Effort, format)
}

// think decides how the model is asked to think: by the caller's own member
// thinking where it can be had, else by the effort.
func (g *generation) think(rules *message.Rules, off string, w *warnings) (protocol.Thinking, jsontext.Value) {
	if own := g.thinking; own.own != nil {
		t := protocol.Thinking{Type: own.kind}
		switch {
		case !rules.TakesThinking(own.kind):
			w.warn("additional_params.thinking", "the model doesn't take the type "+own.kind)
		case t.On() && off != "":
			w.warn("additional_params.thinking", off)
		default:
			if t.On() {
				asked := protocol.Think(g.effort, rules, "")
				t.Effort, t.Room = asked.Effort, max(asked.Room, own.budget)
			}
			return t, own.own
		}
	}
	t := protocol.Think(g.effort, rules, off)
	if rules.ThinkingHidden {
		t.Display = "summarized"
	}
	if t.Warning != "" {
		w.warn("additional_params.reasoning_effort", t.Warning)
	}
	return t, nil
}

// limit gives max_tokens, which counts the thinking: what the caller asks for
// and what thinking may take, up to what the model can write. A budget of ours
// leaves half of it to the answer; where that is too little, the model isn't
// asked to think.
func (g *generation) limit(t *protocol.Thinking, rules *message.Rules, w *warnings) int64 {
	n, most := g.maxTokens, int64(math.MaxInt64)
	if n == 0 {
		n = defaultMaxTokens
	}
	if rules.MaxOutputTokens > 0 {
		most = int64(rules.MaxOutputTokens)
	}
	if n > most {
		w.warn("max_tokens", "the model writes at most "+strconv.FormatInt(most, 10)+" tokens")
		n = most
	}
	n += min(t.Room, most-n)
	if t.Budget > 0 && t.Budget >= n {
		if t.Budget = n / 2; t.Budget < minBudget {
			w.warn("additional_params.reasoning_effort", "there is no room for thinking in so short an answer")
			*t = protocol.Think("", rules, "")
		}
	}
	return n
}

// appendSampling appends temperature, top_p and top_k as far as the model takes
// them. The default temperature is sent where nothing stands against it.
func (g *generation) appendSampling(dst []byte, rules *message.Rules, thinking bool, w *warnings) []byte {
	sampling := protocol.Sampling{Temperature: g.temperature, TopP: g.topP}
	dst = sampling.Append(dst, rules, thinking, func(field, text string) {
		if field != "temperature" {
			field = "additional_params." + field
		}
		w.warn(field, text)
	})
	if g.temperature == nil && (g.topP == nil || *g.topP == 1) && !rules.NoSampling && !thinking {
		dst = append(strconv.AppendFloat(append(dst, `"temperature":`...), defaultTemperature, 'g', -1, 64), ',')
	}
	switch {
	case g.topK == 0:
	case rules.NoSampling:
		w.warn("additional_params.top_k", "the model doesn't take it")
	case thinking:
		w.warn("additional_params.top_k", "can't be set beside thinking")
	default:
		dst = append(strconv.AppendInt(append(dst, `"top_k":`...), g.topK, 10), ',')
	}
	return dst
}

// fillable are the members that have a default. It is never changed.
var fillable = [...]string{"temperature", "max_tokens"}

// defaults names the members that appendGeneration fills in where the caller says
// nothing.
func (g *generation) defaults() []string {
	from, to := 0, len(fillable)
	if g.temperature != nil {
		from++
	}
	if g.maxTokens != 0 {
		to--
	}
	return fillable[from:to:to]
}
