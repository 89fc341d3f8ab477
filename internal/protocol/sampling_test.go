package protocol

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/message"
)

func TestSampling(t *testing.T) {
	n := func(f float64) *float64 { return &f }
	for name, c := range map[string]struct {
		sampling Sampling
		rules    message.Rules
		thinking bool
		want     string
		warned   string
	}{
		"nothing":               {},
		"a temperature":         {sampling: Sampling{Temperature: n(0.5)}, want: `"temperature":0.5,`},
		"zero is one too":       {sampling: Sampling{Temperature: n(0)}, want: `"temperature":0,`},
		"top_p":                 {sampling: Sampling{TopP: n(0.25)}, want: `"top_p":0.25,`},
		"the defaults":          {sampling: Sampling{n(1), n(1)}},
		"too hot":               {sampling: Sampling{Temperature: n(1.5)}, warned: "temperature"},
		"one of the two":        {sampling: Sampling{n(0.5), n(0.5)}, want: `"temperature":0.5,`, warned: "top_p"},
		"not beside thinking":   {sampling: Sampling{n(0.5), n(0.5)}, thinking: true, warned: "temperature top_p"},
		"a model without":       {sampling: Sampling{n(0.5), n(0.5)}, rules: message.Rules{NoSampling: true}, warned: "temperature top_p"},
		"defaults are no fault": {sampling: Sampling{n(1), n(1)}, rules: message.Rules{NoSampling: true}, thinking: true},
	} {
		t.Run(name, func(t *testing.T) {
			var warned []string
			got := c.sampling.Append(nil, &c.rules, c.thinking, func(field, _ string) { warned = append(warned, field) })
			if string(got) != c.want || strings.Join(warned, " ") != c.warned {
				t.Errorf("got %s, warned of %v; want %s, %s", got, warned, c.want, c.warned)
			}
		})
	}
}

func TestPDFByURL(t *testing.T) {
	got, problem := AppendPDFURL(nil, jsontext.Value(`"https:\/\/x.example\/a.pdf"`), jsontext.Value(`"A"`), nil)
	if want := `{"type":"document","source":{"type":"url","url":"https://x.example/a.pdf"},"title":"A"}`; string(got) != want || problem != "" {
		t.Errorf("got %s, %s", got, problem)
	}
	if got, problem = AppendPDFURL(nil, jsontext.Value(`"http://x.example/a.pdf"`), nil, nil); len(got) > 0 || problem == "" {
		t.Errorf("a URL without TLS became %s", got)
	}
}
