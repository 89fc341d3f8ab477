package protocol

import (
	"log/slog"
	"net/http"

	"claude-code-api-service/internal/apierror"
)

// WriteFlatError writes an error in the envelope of the family of the former
// service: detail for its clients, error beside it. The header must say by then
// what is known of the call. A status of 0 is the error's own; a spent budget is
// forbidden there. A nil logger is silent.
func WriteFlatError(w http.ResponseWriter, r *http.Request, log *slog.Logger, status int, err error) {
	header := w.Header()
	Log(r.Context(), log, header.Get(HeaderRequestID), err)
	e := apierror.From(err)
	switch {
	case status != 0:
	case BudgetSpent(e):
		status = http.StatusForbidden
	default:
		status = e.Status()
	}
	SetErrorHeader(header, e)
	_ = WriteJSON(w, status, append(AppendFlatError([]byte{'{'}, e), '}')) // a caller who left isn't told
}

// AppendFlatError appends the members of that envelope, without braces.
func AppendFlatError(dst []byte, e *apierror.Error) []byte {
	code := string(e.Code)
	if code == "" {
		code = string(e.Category)
	}
	dst = AppendText(append(dst, `"detail":`...), e.Message)
	dst = AppendText(append(dst, `,"error":{"message":`...), e.Message)
	dst = AppendText(append(dst, `,"type":`...), string(e.Category))
	dst = AppendTextOrNull(append(dst, `,"param":`...), e.Param)
	dst = AppendText(append(dst, `,"code":`...), code)
	return append(dst, '}')
}
