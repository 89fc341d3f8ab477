package protocol_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
)

func TestTranscript(t *testing.T) {
	tests := []struct {
		name, in, want string
		blocks         bool
		param          string // the refused field
		ignored        string
	}{
		{name: "text", in: `[{"role":"user","content":"hi \u00e4"}]`,
			want: `"messages":[{"role":"user","content":"hi \u00e4"}]`},
		{name: "content before role", in: `[{"content":"hi","role":"user"}]`,
			want: `"messages":[{"role":"user","content":"hi"}]`},
		{name: "system and developer join wherever they stand",
			in:   `[{"role":"system","content":"A\n"},{"role":"user","content":"hi"},{"role":"developer","content":[{"type":"text","text":"B"},{"type":"text","text":"C"}]}]`,
			want: `"system":"A\n\n\nB\n\nC","messages":[{"role":"user","content":"hi"}]`},
		{name: "parts and images",
			in:   `[{"role":"user","content":[{"type":"text","text":"see"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA","detail":"low"}},{"type":"image_url","image_url":{"url":"https:\/\/x.test\/a.png"}}]}]`,
			want: `"messages":[{"role":"user","content":[{"type":"text","text":"see"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}},{"type":"image","source":{"type":"url","url":"https://x.test/a.png"}}]}]`, ignored: "content.image_url.detail"},
		{name: "escaped data URL", in: `[{"role":"user","content":[{"type":"image_url","image_url":"data:image\/jpg;base64,\/9j\/"}]}]`,
			want: `"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/jpeg","data":"/9j/"}}]}]`},
		{name: "tool calls and grouped results",
			in: `[{"role":"user","content":"w?"},
				{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"w","arguments":"{\"a\": 1}"}},{"id":"c2","type":"function","function":{"name":"n","arguments":""}}]},
				{"role":"tool","tool_call_id":"c1","content":"sun"},
				{"role":"tool","tool_call_id":"c2","content":[{"type":"text","text":"x"}]},
				{"role":"user","content":"so?"}]`,
			want: `"messages":[{"role":"user","content":"w?"},{"role":"assistant","content":[{"type":"tool_use","id":"c1","name":"w","input":{"a": 1}},{"type":"tool_use","id":"c2","name":"n","input":{}}]},` +
				`{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":"sun"},{"type":"tool_result","tool_use_id":"c2","content":[{"type":"text","text":"x"}]}]},{"role":"user","content":"so?"}]`},
		{name: "text beside tool calls",
			in:   `[{"role":"assistant","content":"let me see","tool_calls":[{"id":"c1","function":{"name":"w","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c1"}]`,
			want: `"messages":[{"role":"assistant","content":[{"type":"text","text":"let me see"},{"type":"tool_use","id":"c1","name":"w","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1"}]}]`},
		{name: "empty text beside tool calls",
			in:   `[{"role":"assistant","content":"","tool_calls":[{"id":"c1","function":{"name":"w","arguments":"{}"}}]}]`,
			want: `"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"c1","name":"w","input":{}}]}]`},
		{name: "refusal stands for content", in: `[{"role":"assistant","content":null,"refusal":"no"}]`,
			want: `"messages":[{"role":"assistant","content":"no"}]`},
		{name: "cached parts", in: `[{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}},{"type":"text","text":"b","cache_control":null},{"type":"image_url","image_url":{"url":"https://x.test/a"},"cache_control":{"type":"ephemeral","ttl":"1h"}}]}]`,
			want: `"messages":[{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}},{"type":"text","text":"b"},{"type":"image","source":{"type":"url","url":"https://x.test/a"},"cache_control":{"type":"ephemeral","ttl":"1h"}}]}]`},
		{name: "cached messages", in: `[{"role":"user","content":"a","cache_control":{"type":"ephemeral"}},{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"n","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"x","cache_control":{"type":"ephemeral"}}]`,
			want: `"messages":[{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}]},{"role":"assistant","content":[{"type":"tool_use","id":"c","name":"n","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":"x","cache_control":{"type":"ephemeral"}}]}]`},
		{name: "cached system prompt", in: `[{"role":"system","content":[{"type":"text","text":"A"},{"type":"text","text":"B","cache_control":{"type":"ephemeral"}},{"type":"text","text":"C"}]},{"role":"user","content":"hi"}]`,
			want: `"system":[{"type":"text","text":"A\n\nB","cache_control":{"type":"ephemeral"}},{"type":"text","text":"C"}],"messages":[{"role":"user","content":"hi"}]`},
		{name: "wholly cached system prompt", in: `[{"role":"system","content":"A","cache_control":{"type":"ephemeral"}},{"role":"user","content":"hi"}]`,
			want: `"system":[{"type":"text","text":"A","cache_control":{"type":"ephemeral"}}],"messages":[{"role":"user","content":"hi"}]`},
		{name: "files", in: `[{"role":"user","content":[{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;name=a.pdf;base64,JVBERi0x"}},{"type":"file","file":{"file_data":"JVBERi0x"},"cache_control":{"type":"ephemeral"}}]}]`,
			want: `"messages":[{"role":"user","content":[{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0x"},"title":"a.pdf"},{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0x"},"cache_control":{"type":"ephemeral"}}]}]`},
		{name: "refusal part", in: `[{"role":"assistant","content":[{"type":"refusal","refusal":"no"}]}]`,
			want: `"messages":[{"role":"assistant","content":[{"type":"text","text":"no"}]}]`},
		{name: "what has no place is named once",
			in:      `[{"role":"user","name":"ann","content":[{"type":"text","text":"a","x":1},{"type":"image_url","image_url":{"url":"https://x.test/a","detail":"low"}}]},{"role":"assistant","name":"bob","content":"b","annotations":[],"audio":null,"reasoning_content":"hm","tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"n","arguments":"{}"}}]}]`,
			want:    `"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image","source":{"type":"url","url":"https://x.test/a"}}]},{"role":"assistant","content":[{"type":"text","text":"b"},{"type":"tool_use","id":"c","name":"n","input":{}}]}]`,
			ignored: "content.x content.image_url.detail name reasoning_content"},
		{name: "the name of a tool that answers", in: `[{"role":"tool","name":"w","tool_call_id":"c","content":"x"}]`,
			want: `"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":"x"}]}]`},
		{name: "cache_control of a wrong kind", in: `[{"role":"user","content":[{"type":"text","text":"a","cache_control":true}]}]`, param: "messages.0.content.0.cache_control"},
		{name: "uploaded file", in: `[{"role":"user","content":[{"type":"file","file":{"file_id":"file-1"}}]}]`, param: "messages.0.content.0.file.file_id"},
		{name: "file without data", in: `[{"role":"user","content":[{"type":"file","file":{"filename":"x"}}]}]`, param: "messages.0.content.0.file.file_data"},
		{name: "file of a wrong type", in: `[{"role":"user","content":[{"type":"file","file":{"file_data":"data:text/plain;base64,AAAA"}}]}]`, param: "messages.0.content.0.file.file_data"},
		{name: "file of no type", in: `[{"role":"user","content":[{"type":"file","file":{"file_data":"AAAA"}}]}]`, param: "messages.0.content.0.file.file_data"},
		{name: "Messages blocks pass", blocks: true,
			in:   `[ {"role":"user","content":[{"type":"text","text":"a"}, {"type":"document","source":{"x":1}, "text":{}}]}]`,
			want: `"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"document","source":{"x":1}, "text":{}}]}]`},
		{name: "Messages blocks refused", in: `[{"role":"user","content":[{"type":"document"}]}]`, param: "messages.0.content.0.type"},
		{name: "audio", in: `[{"role":"user","content":[{"type":"text","text":"x"},{"type":"input_audio","input_audio":{}}]}]`, param: "messages.0.content.1.type"},
		{name: "unknown role", in: `[{"role":"user","content":"a"},{"role":"robot","content":"a"}]`, param: "messages.1.role"},
		{name: "function role", in: `[{"role":"function","name":"f","content":"a"}]`, param: "messages.0.role"},
		{name: "missing role", in: `[{"content":"a"}]`, param: "messages.0.role"},
		{name: "missing content", in: `[{"role":"user"}]`, param: "messages.0.content"},
		{name: "content of a wrong kind", in: `[{"role":"user","content":1}]`, param: "messages.0.content"},
		{name: "no parts", in: `[{"role":"user","content":[]}]`, param: "messages.0.content"},
		{name: "part without type", in: `[{"role":"user","content":[{"text":"x"}]}]`, param: "messages.0.content.0.type"},
		{name: "text part without text", in: `[{"role":"user","content":[{"type":"text"}]}]`, param: "messages.0.content.0.text"},
		{name: "http image", in: `[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://x.test"}}]}]`, param: "messages.0.content.0.image_url.url"},
		{name: "image of a wrong type", in: `[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/bmp;base64,AA"}}]}]`, param: "messages.0.content.0.image_url.url"},
		{name: "image without base64", in: `[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png,AA"}}]}]`, param: "messages.0.content.0.image_url.url"},
		{name: "system image", in: `[{"role":"system","content":[{"type":"image_url","image_url":{"url":"https://x.test"}}]}]`, param: "messages.0.content"},
		{name: "tool without id", in: `[{"role":"tool","content":"x"}]`, param: "messages.0.tool_call_id"},
		{name: "user calls tools", in: `[{"role":"user","content":"x","tool_calls":[{"id":"c","function":{"name":"n"}}]}]`, param: "messages.0.tool_calls"},
		{name: "call without id", in: `[{"role":"assistant","tool_calls":[{"function":{"name":"n"}}]}]`, param: "messages.0.tool_calls.0.id"},
		{name: "call without name", in: `[{"role":"assistant","tool_calls":[{"id":"c","function":{}}]}]`, param: "messages.0.tool_calls.0.function.name"},
		{name: "arguments no JSON", in: `[{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"n","arguments":"{"}}]}]`, param: "messages.0.tool_calls.0.function.arguments"},
		{name: "arguments no object", in: `[{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"n","arguments":"1"}}]}]`, param: "messages.0.tool_calls.0.function.arguments"},
		{name: "custom call", in: `[{"role":"assistant","tool_calls":[{"id":"c","type":"custom","function":{"name":"n"}}]}]`, param: "messages.0.tool_calls.0.type"},
		{name: "message no object", in: `["x"]`, param: "messages.0"},
		{name: "messages no array", in: `{}`, param: "messages"},
		{name: "legacy call", in: `[{"role":"assistant","content":null,"function_call":{"name":"x"}}]`, param: "messages.0.function_call"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			transcript := protocol.Transcript{Blocks: tt.blocks}
			s := protocol.NewScanner([]byte(`{"messages":` + tt.in + `}`))
			err := s.Document(func([]byte) error { return transcript.Read(s) })
			if tt.param != "" {
				e := apierror.From(err)
				if e == nil || e.Category != apierror.BadRequest || e.Param != tt.param || !strings.HasPrefix(e.Message, tt.param) {
					t.Fatalf("err = %v, want it to name %s", err, tt.param)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := string(transcript.Append(nil)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if got := strings.Join(transcript.Ignored, " "); got != tt.ignored {
				t.Errorf("ignored %q, want %q", got, tt.ignored)
			}
		})
	}
}

func TestPrependSystemKeepsMarks(t *testing.T) {
	var transcript protocol.Transcript
	s := protocol.NewScanner([]byte(`{"m":[{"role":"system","content":"B","cache_control":{"type":"ephemeral"}},{"role":"system","content":"C"},{"role":"user","content":"hi"}]}`))
	if err := s.Document(func([]byte) error { return transcript.Read(s) }); err != nil {
		t.Fatal(err)
	}
	var alone protocol.Transcript
	if err := alone.Read(protocol.NewScanner([]byte(`[{"role":"user","content":"ho"}]`))); err != nil {
		t.Fatal(err)
	}
	want := `"system":[{"type":"text","text":"A\n\nB","cache_control":{"type":"ephemeral"}},{"type":"text","text":"C"}],"messages":[{"role":"user","content":"hi"}]`
	// A request that is translated again starts from a copy that shares memory.
	for _, name := range []string{"once", "again"} {
		again := transcript
		again.PrependSystem(jsontext.Value(`"A"`))
		other := alone
		other.PrependSystemOf(&again)
		if got := string(again.Append(nil)); got != want {
			t.Errorf("%s: got  %s\nwant %s", name, got, want)
		}
		if got := string(other.Append(nil)); got != strings.Replace(want, "hi", "ho", 1) {
			t.Errorf("%s, put in front of another: %s", name, got)
		}
	}
}

func TestIgnoredIsBounded(t *testing.T) {
	var members strings.Builder
	for i := range 100 {
		members.WriteString(`"x` + strconv.Itoa(i) + `":1,`)
	}
	var transcript protocol.Transcript
	if err := transcript.Read(protocol.NewScanner([]byte(`[{` + members.String() + `"role":"user","content":"hi"}]`))); err != nil {
		t.Fatal(err)
	}
	if len(transcript.Ignored) != 8 {
		t.Errorf("%d names: %q", len(transcript.Ignored), transcript.Ignored)
	}
}

func TestScannerRefusesBrokenDocuments(t *testing.T) {
	for _, doc := range []string{``, `{`, `{"a"`, `{"a":}`, `{"a":1`, `{"a":1,}`, `{"a":1,"a":2}`, `[]`, `1`, `{} {}`, `{"a":"` + "\xff" + `"}`, `{"a":[1,]}`, `{"a":{"b"}}`} {
		s := protocol.NewScanner([]byte(doc))
		err := s.Document(func([]byte) error {
			switch s.Kind() {
			case '[':
				return s.Array(func(int) error { return s.Skip() })
			case '{':
				return s.Object(func([]byte) error { return s.Skip() })
			}
			return s.Skip()
		})
		if e := apierror.From(err); e == nil || e.Category != apierror.BadRequest {
			t.Errorf("%q: err = %v", doc, err)
		}
	}
}

func TestScannerValues(t *testing.T) {
	doc := `{"t":"x","u":null,"b":true,"c":7,"n":0.5}`
	s := protocol.NewScanner([]byte(doc))
	var text, null jsontext.Value
	var flag *bool
	var count int64
	var number *float64
	err := s.Document(func(name []byte) (err error) {
		switch string(name) {
		case "t":
			text, err = s.Text()
		case "u":
			null, err = s.Text()
		case "b":
			flag, err = s.Bool()
		case "c":
			count, err = s.Count(1)
		case "n":
			number, err = s.Number(0, 1)
		}
		return err
	})
	if err != nil || string(text) != `"x"` || null != nil || !*flag || count != 7 || *number != 0.5 {
		t.Errorf("%s %s %v %d %v, %v", text, null, flag, count, number, err)
	}
	for name, read := range map[string]func(s *protocol.Scanner) error{
		"text":   func(s *protocol.Scanner) error { _, err := s.Text(); return err },
		"bool":   func(s *protocol.Scanner) error { _, err := s.Bool(); return err },
		"count":  func(s *protocol.Scanner) error { _, err := s.Count(1); return err },
		"number": func(s *protocol.Scanner) error { _, err := s.Number(0, 1); return err },
	} {
		s := protocol.NewScanner([]byte(`{"f":-1}`))
		err := s.Document(func([]byte) error { return read(s) })
		if e := apierror.From(err); e == nil || e.Param != "f" {
			t.Errorf("%s of -1: %v", name, err)
		}
	}
}

func TestScannersForgetTheirDocument(t *testing.T) {
	var scanners protocol.Scanners
	for _, doc := range []string{`{"a":1}`, `{"a":{"b":[`, `{"a":2}`, `[`, `{"a":{"a":3}}`} {
		s := scanners.Get([]byte(doc))
		var last string
		err := s.Document(func([]byte) error {
			value, err := s.Value()
			last = string(value)
			return err
		})
		if complete := strings.HasSuffix(doc, "}"); complete != (err == nil) || complete && `{"a":`+last+`}` != doc {
			t.Errorf("%s: last value %s, %v", doc, last, err)
		}
		scanners.Put(s)
	}
}

func TestFinishReason(t *testing.T) {
	for stop, want := range map[string]string{
		"end_turn": "stop", "pause_turn": "stop", "model_context_window_exceeded": "length", "stop_sequence": "stop", "": "stop", "max_tokens": "length", "tool_use": "tool_calls", "refusal": "content_filter",
	} {
		if got := protocol.FinishReason(stop); got != want {
			t.Errorf("%s: %s, want %s", stop, got, want)
		}
	}
}

// What is translated must be valid JSON, and the Messages form of a request.
func FuzzTranscript(f *testing.F) {
	f.Add([]byte(`[{"role":"user","content":"hi"}]`))
	f.Add([]byte(`[{"role":"system","content":"\ud83d\ude00"},{"role":"system","content":"\\"},{"role":"user","content":[{"type":"text","text":"x"},{"type":"image_url","image_url":{"url":"data:image/png;base64,A\"A"}}]}]`))
	f.Add([]byte(`[{"role":"system","content":[{"type":"text","text":"","cache_control":{}},{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}]},{"role":"user","cache_control":{},"content":"x"},{"role":"user","content":[{"type":"file","file":{"file_data":"JVBERi0x","filename":"\""},"cache_control":{}}]}]`))
	f.Add([]byte(`[{"role":"assistant","content":"","tool_calls":[{"id":"c1","function":{"name":"w","arguments":" { } "}}]},{"role":"tool","tool_call_id":"c1"},{"role":"tool","tool_call_id":"c2","content":"x"}]`))
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, blocks := range []bool{false, true} {
			transcript := protocol.Transcript{Blocks: blocks}
			s := protocol.NewScanner(in)
			if err := transcript.Read(s); err != nil {
				if apierror.From(err).Category != apierror.BadRequest {
					t.Fatalf("category of %v", err)
				}
				continue
			}
			body := append(transcript.Append([]byte("{")), '}')
			if _, err := message.ParseRequest(body); err != nil {
				t.Fatalf("%s: %v", body, err)
			}
		}
	})
}
