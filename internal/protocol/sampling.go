package protocol

import (
	"strconv"

	"claude-code-api-service/internal/message"
)

// Sampling is what a request of OpenAI's APIs says of how tokens are chosen; nil
// is absent.
type Sampling struct{ Temperature, TopP *float64 }

// Append appends temperature and top_p, each with a comma behind it, as far as
// the model takes them: temperature up to 1, one of the two, neither beside
// thinking, and none at all for a model that has no sampling. What isn't sent is
// told to warn. A value that is the default anyway isn't sent either, so that no
// backend has to warn about it.
func (p Sampling) Append(dst []byte, rules *message.Rules, thinking bool, warn func(field, text string)) []byte {
	temperature, topP := p.Temperature, p.TopP
	if temperature != nil && *temperature == 1 {
		temperature = nil
	}
	if topP != nil && *topP == 1 {
		topP = nil
	}
	drop := func(field string, n **float64, text string) {
		if *n != nil {
			warn(field, text)
			*n = nil
		}
	}
	if rules.NoSampling {
		drop("temperature", &temperature, "the model doesn't take it")
		drop("top_p", &topP, "the model doesn't take it")
	}
	if temperature != nil && *temperature > 1 {
		drop("temperature", &temperature, "is at most 1 here, and was set to 1")
	}
	if thinking {
		drop("temperature", &temperature, "can't be set beside reasoning")
		drop("top_p", &topP, "can't be set beside reasoning")
	}
	if temperature != nil {
		drop("top_p", &topP, "can't be set beside temperature")
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
