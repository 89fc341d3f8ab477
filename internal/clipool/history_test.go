package clipool

import (
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/message"
)

func turns(pairs ...string) []message.Turn {
	var list []message.Turn
	for i := 0; i+1 < len(pairs); i += 2 {
		list = append(list, message.Turn{Role: pairs[i], Content: jsontext.Value(pairs[i+1])})
	}
	return list
}

func digestOf(key, system string, tools []message.Tool, list []message.Turn) digest {
	h := newHistory(key, "m", system, tools)
	for _, turn := range list {
		h.add(turn)
	}
	return h.sum()
}

func TestHistoriesThatAreTheSame(t *testing.T) {
	tests := []struct {
		name string
		a, b []message.Turn
	}{
		{"a string and its block", turns("user", `"hi"`), turns("user", `[{"type":"text","text":"hi"}]`)},
		{"escapes", turns("user", `"\u0068\u00ef"`), turns("user", `"hï"`)},
		{"the assistant's text in pieces", turns("user", `"q"`, "assistant", `[{"type":"text","text":"a"},{"text":"b","type":"text"}]`), turns("user", `"q"`, "assistant", `"ab"`)},
		{"thinking left out", turns("user", `"q"`, "assistant", `[{"type":"thinking","thinking":"t","signature":"s"},{"type":"text","text":"a"}]`), turns("user", `"q"`, "assistant", `"a"`)},
		{"an empty text beside a call", turns("assistant", `[{"type":"text","text":""},{"type":"tool_use","id":"c","name":"n","input":{}}]`), turns("assistant", `[{"type":"tool_use","id":"c","name":"n","input":{}}]`)},
		{"a call's JSON", turns("assistant", `[{"type":"tool_use","id":"c","name":"n","input":{"a":1.0,"b":"\u0041"},"caller":{"type":"direct"}}]`), turns("assistant", `[{"input":{"b":"A","a":1},"name":"n","id":"c","type":"tool_use"}]`)},
		{"an image's JSON", turns("user", `[{"type":"image","source":{"type":"base64","data":"AA"}}]`), turns("user", `[ {"source":{"data":"AA","type":"base64"},"type":"image"} ]`)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if digestOf("k", "s", nil, test.a) != digestOf("k", "s", nil, test.b) {
				t.Error("the digests differ")
			}
		})
	}
}

func TestHistoriesThatDiffer(t *testing.T) {
	tool := []message.Tool{{Name: "n", Description: "d", InputSchema: jsontext.Value(`{}`)}}
	one := turns("user", `"a"`, "assistant", `"b"`)
	digests := map[digest]string{}
	for name, d := range map[string]digest{
		"one":                      digestOf("k", "s", nil, one),
		"another key":              digestOf("l", "s", nil, one),
		"another system prompt":    digestOf("k", "t", nil, one),
		"key and system run over":  digestOf("ks", "", nil, one),
		"with a tool":              digestOf("k", "s", tool, one),
		"a tool's other members":   digestOf("k", "s", []message.Tool{{Name: "n", Description: "d", InputSchema: jsontext.Value(`{}`), Others: map[string]jsontext.Value{"x": jsontext.Value("1")}}}, one),
		"fewer turns":              digestOf("k", "s", nil, one[:1]),
		"roles swapped":            digestOf("k", "s", nil, turns("assistant", `"a"`, "user", `"b"`)),
		"the turns run over":       digestOf("k", "s", nil, turns("user", `"ab"`, "assistant", `""`)),
		"a user's text in pieces":  digestOf("k", "s", nil, turns("user", `[{"type":"text","text":"a"},{"type":"text","text":""}]`, "assistant", `"b"`)),
		"a block that isn't text":  digestOf("k", "s", nil, turns("user", `[{"type":"image","text":"a"}]`, "assistant", `"b"`)),
		"the user's own thinking":  digestOf("k", "s", nil, turns("user", `[{"type":"thinking","thinking":"x"},{"type":"text","text":"a"}]`, "assistant", `"b"`)),
		"a call":                   digestOf("k", "s", nil, turns("user", `"a"`, "assistant", `[{"type":"text","text":"b"},{"type":"tool_use","id":"1","name":"n","input":{}}]`)),
		"a call with other inputs": digestOf("k", "s", nil, turns("user", `"a"`, "assistant", `[{"type":"text","text":"b"},{"type":"tool_use","id":"1","name":"n","input":{"x":1}}]`)),
	} {
		if other, taken := digests[d]; taken {
			t.Errorf("%s has the digest of %s", name, other)
		}
		digests[d] = name
	}
}

func TestAnAnswerIsTheTurnThatComesBack(t *testing.T) {
	h := newHistory("k", "m", "", nil)
	h.add(message.Turn{Role: "user", Content: jsontext.Value(`"q"`)})
	h.addAnswer([]jsontext.Value{jsontext.Value(`{"type":"thinking","thinking":"t"}`), jsontext.Value(`{"type":"text","text":"a"}`)})
	if h.sum() != digestOf("k", "", nil, turns("user", `"q"`, "assistant", `"a"`)) {
		t.Error("the digests differ")
	}
}
