package protocol

import (
	"net/http"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/openapi"
)

// BackendParameter documents the header that chooses the backend.
func BackendParameter() openapi.Parameter {
	return openapi.Parameter{
		Name: HeaderBackend, In: "header", Description: "Which backend is to answer; wins over `use_cli`. Absent: the configured default.",
		Schema: openapi.Words(gateway.BackendCLI, gateway.BackendDirect),
	}
}

// OnceParameter documents the header that has a request served once.
func OnceParameter() openapi.Parameter {
	return openapi.Parameter{
		Name: HeaderIdempotencyKey, In: "header", Schema: openapi.Text(""),
		Description: "1 to 255 visible characters that the client makes up for this request. Sent again within 24 hours, the same request gets the " +
			"same answer, byte for byte, with `Idempotent-Replayed: true`, and is neither generated nor billed again. Failures that cost nothing aren't kept.",
	}
}

// The answers to a request whose Idempotency-Key stands for something else.
const (
	OnceConflict = "The `Idempotency-Key` is that of a request that is being answered (`Retry-After`), or whose answer was too large to be kept (`x-should-retry: false`)."
	OnceMismatch = "The `Idempotency-Key` is that of another request."
)

// OnceFailures documents the errors of HandleOnce in OpenAI's APIs.
func OnceFailures() []openapi.Response {
	return []openapi.Response{OpenAIFailure(http.StatusConflict, OnceConflict), OpenAIFailure(http.StatusUnprocessableEntity, OnceMismatch)}
}

// OpenAIFailure documents an error of OpenAI's APIs.
func OpenAIFailure(status int, description string) openapi.Response {
	return openapi.Response{Status: status, Description: description, Schema: openapi.Members(
		"OpenAIError", "",
		openapi.Always("error", openapi.Members(
			"", "",
			openapi.Always("message", openapi.Text("")),
			openapi.Always("type", openapi.Text("")),
			openapi.Always("param", openapi.Nullable(openapi.Text("The member of the request at fault."))),
			openapi.Always("code", openapi.Nullable(openapi.Text(""))),
		)),
	)}
}

// OpenAIFailures documents the errors of what asks a backend in OpenAI's APIs.
func OpenAIFailures() []openapi.Response {
	return []openapi.Response{
		OpenAIFailure(http.StatusBadRequest, "The request is at fault; `param` names the member."),
		OpenAIFailure(http.StatusUnauthorized, "The key isn't valid."),
		OpenAIFailure(http.StatusForbidden, Forbidden),
		OpenAIFailure(http.StatusNotFound, "There is no such model, or nothing by an id that the request names."),
		OpenAIFailure(http.StatusRequestEntityTooLarge, "The body is too large."),
		OpenAIFailure(http.StatusTooManyRequests, Limited+" Or: "+BudgetIsSpent),
		OpenAIFailure(http.StatusInternalServerError, "A fault of this service."),
		OpenAIFailure(http.StatusBadGateway, "The backend failed."),
		OpenAIFailure(http.StatusServiceUnavailable, "There is no room at the moment (`Retry-After`)."),
		OpenAIFailure(http.StatusGatewayTimeout, "The request or the backend took too long."),
	}
}

// FlatError documents the members that AppendFlatError writes. property makes
// them such as are always there, or such as may be absent.
func FlatError(property func(name string, schema *openapi.Schema) openapi.Property) []openapi.Property {
	return []openapi.Property{
		property("detail", openapi.Text("What went wrong.")),
		property("error", openapi.Members(
			"ErrorDetail", "",
			openapi.Always("message", openapi.Text("The same as detail.")),
			openapi.Always("type", openapi.Text("The category.")),
			openapi.Always("param", openapi.Nullable(openapi.Text("The member of the request at fault."))),
			openapi.Always("code", openapi.Text("The exact reason where there is one, else the category.")),
		)),
	}
}
