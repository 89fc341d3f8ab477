package openaiapi

import (
	"bytes"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
)

// What the API's reference and the contract state of a request's fields.
const (
	defaultMaxTokens = 4_096
	maxTemperature   = 2
	maxStops         = 4
	maxUserID        = 256 // of the Messages API's metadata.user_id
)

// chatRequest is a decoded request. Its slices share memory with the body.
type chatRequest struct {
	model, user              jsontext.Value
	effort                   string
	maxTokens, maxCompletion int64
	temperature, topP        *float64
	stops                    []jsontext.Value
	stream, includeUsage     bool
	useCLI                   *bool
	projectID                string

	transcript protocol.Transcript
	messages   bool
	tools      []byte // the elements of the Messages API's tools array
	choice     toolChoice
	serial     bool // parallel_tool_calls is false

	warnings []string
}

// decode reads a request. Unknown fields are left alone; what would change the
// answer's shape is refused; what the Messages API has no place for is named in
// the warnings. An error is an apierror.Error.
func decode(s *protocol.Scanner) (*chatRequest, error) {
	c := &chatRequest{}
	if err := s.Document(func(name []byte) error { return c.read(s, name) }); err != nil {
		return nil, err
	}
	switch {
	case !c.messages:
		return nil, s.Invalid("messages", "field required")
	case c.transcript.Empty():
		return nil, s.Invalid("messages", "at least one message that isn't the system's is required")
	}
	return c, nil
}

func (c *chatRequest) read(s *protocol.Scanner, name []byte) (err error) {
	switch string(name) {
	case "model":
		c.model, err = s.Text()
	case "messages":
		c.messages = true
		c.transcript.Grow(s.Len())
		err = c.transcript.Read(s)
	case "max_tokens":
		c.maxTokens, err = s.Count(1)
	case "max_completion_tokens":
		c.maxCompletion, err = s.Count(1)
	case "temperature":
		c.temperature, err = s.Number(0, maxTemperature)
	case "top_p":
		c.topP, err = s.Number(0, 1)
	case "stop":
		err = c.readStop(s)
	case "stream":
		c.stream, err = readFlag(s)
	case "stream_options":
		err = c.readStreamOptions(s)
	case "tools":
		err = c.readTools(s)
	case "tool_choice":
		err = c.choice.read(s)
	case "parallel_tool_calls":
		var parallel *bool
		parallel, err = s.Bool()
		c.serial = parallel != nil && !*parallel
	case "reasoning_effort":
		var effort jsontext.Value
		effort, err = s.Text()
		c.effort = protocol.Unquote(effort)
		if _, ok := effortBudget(c.effort); err == nil && !ok {
			err = s.Invalid("", "must be none, minimal, low, medium, high or xhigh")
		}
	case "user":
		c.user, err = s.Text()
	case "use_cli":
		c.useCLI, err = s.Bool()
	case "project_id":
		var id jsontext.Value
		id, err = s.Text()
		c.projectID = protocol.Unquote(id)
	default:
		err = c.readOther(s, string(name))
	}
	return err
}

func readFlag(s *protocol.Scanner) (bool, error) {
	flag, err := s.Bool()
	return flag != nil && *flag, err
}

func (c *chatRequest) readStop(s *protocol.Scanner) error {
	if s.Kind() == '[' {
		err := s.Array(func(int) error { return c.readOneStop(s) })
		if err == nil && len(c.stops) > maxStops {
			err = s.Invalid("", "at most "+strconv.Itoa(maxStops)+" strings are allowed")
		}
		return err
	}
	return c.readOneStop(s)
}

func (c *chatRequest) readOneStop(s *protocol.Scanner) error {
	stop, err := s.Text()
	if err != nil || stop == nil {
		return err
	}
	if len(bytes.TrimSpace([]byte(protocol.Unquote(stop)))) == 0 {
		// The Messages API refuses such a sequence.
		c.warn("stop", "a sequence of nothing but white space can't be used")
		return nil
	}
	c.stops = append(c.stops, stop)
	return nil
}

func (c *chatRequest) readStreamOptions(s *protocol.Scanner) error {
	if s.Kind() == 'n' {
		return s.Skip()
	}
	return s.Object(func(name []byte) (err error) {
		if string(name) == "include_usage" {
			c.includeUsage, err = readFlag(s)
			return err
		}
		return s.Skip()
	})
}

func (c *chatRequest) warn(field, text string) {
	c.warnings = append(c.warnings, field+": "+text)
}

// translate writes the Messages request. sizeHint is the request's own size.
func (c *chatRequest) translate(sizeHint int) (*message.Request, error) {
	dst := append(make([]byte, 0, sizeHint+256), '{')
	if c.model != nil {
		dst = append(append(append(dst, `"model":`...), c.model...), ',')
	}
	maxTokens := c.maxCompletion
	if maxTokens == 0 {
		maxTokens = c.maxTokens
	}
	if maxTokens == 0 {
		maxTokens = defaultMaxTokens
	}
	budget := c.thinkingBudget()
	if budget > 0 {
		dst = append(dst, `"thinking":{"type":"enabled","budget_tokens":`...)
		dst = append(strconv.AppendInt(dst, budget, 10), "},"...)
		maxTokens += budget // max_tokens counts the thinking, and must exceed its budget
	}
	dst = strconv.AppendInt(append(dst, `"max_tokens":`...), maxTokens, 10)
	dst = append(dst, ',')
	dst = c.appendSampling(dst, budget > 0)
	if c.stream {
		dst = append(dst, `"stream":true,`...)
	}
	if len(c.stops) > 0 {
		dst = append(dst, `"stop_sequences":[`...)
		for i, stop := range c.stops {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, stop...)
		}
		dst = append(dst, "],"...)
	}
	if user := protocol.Unquote(c.user); len(user) > maxUserID {
		c.warn("user", "is longer than "+strconv.Itoa(maxUserID)+" bytes and isn't sent on")
	} else if user != "" {
		dst = append(append(append(dst, `"metadata":{"user_id":`...), c.user...), "},"...)
	}
	dst, err := c.appendTools(dst)
	if err != nil {
		return nil, err
	}
	return message.ParseRequest(append(c.transcript.Append(dst), '}'))
}

// appendSampling appends temperature and top_p as far as the Messages API takes
// them: from 0 to 1, one of the two, and neither beside thinking. A value that
// is the default anyway isn't sent, so that no backend has to warn about it.
func (c *chatRequest) appendSampling(dst []byte, thinking bool) []byte {
	temperature, topP := c.temperature, c.topP
	if temperature != nil && *temperature > 1 {
		c.warn("temperature", "is at most 1 here, and was set to 1")
		temperature = nil
	}
	if temperature != nil && *temperature == 1 {
		temperature = nil
	}
	if topP != nil && *topP == 1 {
		topP = nil
	}
	if thinking && temperature != nil {
		c.warn("temperature", "can't be set beside reasoning_effort")
		temperature = nil
	}
	if topP != nil && (thinking || temperature != nil) {
		c.warn("top_p", "can't be set beside temperature or reasoning_effort")
		topP = nil
	}
	dst = appendNumber(dst, "temperature", temperature)
	return appendNumber(dst, "top_p", topP)
}

func appendNumber(dst []byte, name string, n *float64) []byte {
	if n == nil {
		return dst
	}
	dst = append(append(append(dst, '"'), name...), `":`...)
	return append(strconv.AppendFloat(dst, *n, 'g', -1, 64), ',')
}

// effortBudget gives the thinking tokens for a reasoning_effort; zero is off.
// The least that the Messages API takes is 1,024; xhigh is Claude Code's own
// default.
func effortBudget(effort string) (tokens int64, ok bool) {
	switch effort {
	case "", "none", "minimal":
		return 0, true
	case "low":
		return 2_048, true
	case "medium":
		return 8_192, true
	case "high":
		return 24_576, true
	case "xhigh":
		return message.DefaultThinkingTokens, true
	}
	return 0, false
}

// thinkingBudget gives the tokens for thinking, and turns it off where the
// Messages API would refuse it.
func (c *chatRequest) thinkingBudget() int64 {
	budget, _ := effortBudget(c.effort)
	switch {
	case budget == 0:
		return 0
	case c.transcript.CallsTools():
		c.warn("reasoning_effort", "is off in an answer to tool results")
		return 0
	case c.choice.forces():
		c.warn("reasoning_effort", "is off where tool_choice forces a tool")
		return 0
	}
	return budget
}
