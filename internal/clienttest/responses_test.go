package clienttest_test

import (
	"net/http"
	"slices"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/responses"
)

// respond makes the parameters of a response to one text.
func respond(input string) responses.ResponseNewParams {
	return responses.ResponseNewParams{Model: alias, Input: responses.ResponseNewParamsInputUnion{OfString: openai.String(input)}}
}

// addResponses adds the checks of the Responses API.
func (s *stand) addResponses(list checks, client *openai.Client) {
	create := func(t *testing.T, params responses.ResponseNewParams) *responses.Response {
		t.Helper()
		got, err := client.Responses.New(within(t), params)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	// stream gives the events' types, each once where several follow each other,
	// the deltas of one type, and the response at the end.
	stream := func(t *testing.T, params responses.ResponseNewParams, delta string) (types, deltas []string, final responses.Response) {
		t.Helper()
		events := client.Responses.NewStreaming(within(t), params)
		defer func() { _ = events.Close() }()
		for events.Next() {
			event := events.Current()
			if len(types) == 0 || types[len(types)-1] != event.Type {
				types = append(types, event.Type)
			}
			if event.Type == delta {
				deltas = append(deltas, event.Delta)
			}
			if event.Type == "response.completed" {
				final = event.AsResponseCompleted().Response
			}
		}
		if err := events.Err(); err != nil {
			t.Fatal(err)
		}
		return types, deltas, final
	}
	tools := []responses.ToolUnionParam{responses.ToolParamOfFunction("weather", weatherSchema(), true)}

	list["responses"] = func(t *testing.T) {
		prompt := s.word("respond")
		params := respond(prompt)
		params.Instructions = openai.String("Be brief.")
		got := create(t, params)
		check(t, "text", got.OutputText(), echo(prompt))
		check(t, "status", string(got.Status), "completed")
		check(t, "output_tokens", got.Usage.OutputTokens, tokens(echo(prompt)))
	}
	list["responses stream"] = func(t *testing.T) {
		prompt := s.word("respond")
		types, deltas, final := stream(t, respond(prompt), "response.output_text.delta")
		checkDeltas(t, deltas, echo(prompt))
		check(t, "text", final.OutputText(), echo(prompt))
		if want := []string{
			"response.created", "response.in_progress", "response.output_item.added", "response.content_part.added", "response.output_text.delta",
			"response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed",
		}; !slices.Equal(types, want) {
			t.Errorf("events %v", types)
		}
	}
	list["responses tools"] = func(t *testing.T) {
		prompt, result := s.word("tools")+callTool(longCity), s.word("degrees")
		params := respond(prompt)
		params.Tools = tools
		first := create(t, params)
		at := slices.IndexFunc(first.Output, func(item responses.ResponseOutputItemUnion) bool { return item.Type == "function_call" })
		if at < 0 {
			t.Fatalf("answered %s", first.RawJSON())
		}
		call := first.Output[at].AsFunctionCall()
		check(t, "arguments", call.Arguments, `{"city":"`+longCity+`"}`)
		output := responses.ResponseInputItemParamOfFunctionCallOutput(result)
		output.OfFunctionCallOutput.CallID = openai.String(call.CallID)
		params.Input = responses.ResponseNewParamsInputUnion{OfInputItemList: responses.ResponseInputParam{
			responses.ResponseInputItemParamOfMessage(prompt, responses.EasyInputMessageRoleUser),
			responses.ResponseInputItemParamOfFunctionCall(call.Arguments, call.CallID, call.Name), output,
		}}
		check(t, "text", create(t, params).OutputText(), "Tool result: "+result)

		params = respond(s.word("streamed") + callTool(longCity))
		params.Tools = tools
		_, deltas, _ := stream(t, params, "response.function_call_arguments.delta")
		checkDeltas(t, deltas, `{"city":"`+longCity+`"}`)
	}
	list["responses structured"] = func(t *testing.T) {
		params := respond(s.word("structured"))
		params.Text.Format = responses.ResponseFormatTextConfigParamOfJSONSchema("city", citySchema())
		check(t, "text", create(t, params).OutputText(), cityAnswer)
	}
	list["responses kept"] = func(t *testing.T) {
		one, two := s.word("one"), s.word("two")
		first := create(t, respond(one))
		params := respond(two)
		params.PreviousResponseID = openai.String(first.ID)
		check(t, "text", create(t, params).OutputText(), echo(two))
		hasInOrder(t, s.upstream.one(t, two), one, echo(one), two)
		kept, err := client.Responses.Get(within(t), first.ID, responses.ResponseGetParams{})
		if err != nil {
			t.Fatal(err)
		}
		check(t, "kept text", kept.OutputText(), echo(one))
		if err := client.Responses.Delete(within(t), first.ID); err != nil {
			t.Fatal(err)
		}
		_, err = client.Responses.Get(within(t), first.ID, responses.ResponseGetParams{})
		check(t, "status", asError[*openai.Error](t, err).StatusCode, http.StatusNotFound)
	}
}
