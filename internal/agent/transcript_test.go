package agent

import (
	"strings"
	"testing"

	"claude-code-api-service/internal/message"
)

func TestPromptOf(t *testing.T) {
	turn := func(role, content string) message.Turn {
		return message.Turn{Role: role, Content: []byte(content)}
	}
	const before, behind = `{"type":"text","text":"The conversation so far:\n`, `\nThe user's next message, which is to be answered:\n"}`
	for _, test := range []struct {
		name  string
		turns []message.Turn
		want  string
	}{
		{"a text", []message.Turn{turn("user", `"hello"`)}, `"hello"`},
		{"blocks", []message.Turn{turn("user", `[{"type":"text","text":"hello"}]`)}, `[{"type":"text","text":"hello"}]`},
		{
			"history", []message.Turn{turn("user", `"one \"word\""`), turn("assistant", `[{"type":"thinking","thinking":"hm"},{"type":"text","text":"two"}]`), turn("user", `"three"`)},
			`[` + before + `\n<user>\none \"word\"\n</user>\n\n<assistant>\ntwo\n</assistant>\n` + behind + `,{"type":"text","text":"three"}]`,
		},
		{
			"tools and images", []message.Turn{
				turn("user", `[{"type":"image","source":{"type":"url","url":"x"}},{"type":"text","text":"what is it?"}]`),
				turn("assistant", `[{"type":"tool_use","id":"t","name":"look","input":{"a":1}}]`),
				turn("user", `[{"type":"tool_result","tool_use_id":"t","content":"a cat"}]`),
				turn("user", `[{"type":"text","text":"so?"}]`),
			},
			`[` + before + `\n<user>\n"},{"type":"image","source":{"type":"url","url":"x"}},{"type":"text","text":"what is it?\n</user>\n` +
				`\n<assistant>\n[called look with {\"a\":1}]\n</assistant>\n\n<user>\n[result: a cat]\n</user>\n` + behind + `,{"type":"text","text":"so?"}]`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := promptOf(test.turns); string(got) != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestNameOf(t *testing.T) {
	for _, id := range []string{"", "0123456789abcdef", "a.b.c", "..", "--x", strings.Repeat("x", 128)} {
		a, b := RunID(id), RunID(id)
		if a == b || !isName(a) {
			t.Errorf("%q: %q and %q", id, a, b)
		}
	}
}
