package openaiapi

import (
	"strconv"

	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
)

// translate writes the Messages request for a model with these rules. sizeHint
// is the request's own size. An error is an apierror.Error.
func (c *chatRequest) translate(rules message.Rules, sizeHint int) (*message.Request, error) {
	c.rules = rules
	dst := append(make([]byte, 0, sizeHint+256), '{')
	if c.model != nil {
		dst = append(append(append(dst, `"model":`...), c.model...), ',')
	}
	thinking, raw, maxTokens := c.think(&c.rules)
	if raw != nil {
		dst = append(append(append(dst, `"thinking":`...), raw...), ',')
	} else {
		dst = thinking.Append(dst)
	}
	dst = strconv.AppendInt(append(dst, `"max_tokens":`...), maxTokens, 10)
	dst = append(dst, ',')
	dst = c.appendSampling(dst, &c.rules, thinking.On())
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
	dst = c.appendUser(dst)
	dst, err := c.appendTools(dst, &c.rules)
	if err != nil {
		return nil, err
	}
	format, err := c.format.Member(&c.rules, c.transcript.AddSystem, c.warn)
	if err != nil {
		return nil, err
	}
	dst = protocol.AppendOutputConfig(dst, thinking.Effort, format)
	return message.ParseRequest(append(c.transcript.Append(dst), '}'))
}

// appendUser appends who the caller's own user is, under the older name or the
// newer one.
func (c *chatRequest) appendUser(dst []byte) []byte {
	field, id := "user", c.user
	if len(protocol.Inner(c.safetyID)) > 0 {
		field, id = "safety_identifier", c.safetyID
	}
	if user := protocol.Unquote(id); len(user) > maxUserID {
		c.warn(field, "is longer than "+strconv.Itoa(maxUserID)+" bytes and isn't sent on")
	} else if user != "" {
		dst = append(append(append(dst, `"metadata":{"user_id":`...), id...), "},"...)
	}
	return dst
}

// modelName gives the model as asked.
func (c *chatRequest) modelName() string { return protocol.Unquote(c.model) }
