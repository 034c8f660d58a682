// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package outboundtest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/outbound"
)

// Issuing is a call by which a back end's server issues something.
type Issuing struct {
	// Is reports whether a request is that call. It can read the body.
	Is func(r *http.Request) bool
	// Refusal is the body of an error as the server writes one.
	Refusal string
}

// said is what comes back in place of the answer by which the server issued.
type said struct {
	name   string
	status int
	body   string
	// cut reports whether the body ends before its length is reached.
	cut bool
	// refused reports whether it proves that nothing was issued.
	refused bool
	// unknown reports whether it holds something of which nobody knows until when it works.
	unknown bool
}

// Refusals tries a back end with every answer that can come back after its server has issued: those of the server, and
// those of what stands before it. Only an error in the server's own form, with a status by which servers refuse before
// they issue, may be taken for a refusal.
func Refusals(t *testing.T, b BackEnd, call Issuing) {
	t.Helper()
	company := NewNetwork(t)
	var row said
	issued := 0
	_, url := company.Serve(t, host, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		is := call.Is(r)
		r.Body, r.Form, r.PostForm = io.NopCloser(bytes.NewReader(body)), nil, nil
		if !is {
			b.Server.ServeHTTP(w, r)
			return
		}
		record := httptest.NewRecorder()
		if b.Server.ServeHTTP(record, r); record.Code < http.StatusMultipleChoices && record.Body.Len() > 0 {
			issued++
		}
		row.write(w)
	}))
	for _, row = range answers(call.Refusal) {
		t.Run(fmt.Sprintf("%d %s", row.status, row.name), func(t *testing.T) {
			issued = 0
			err := b.issue(t, url, company.Authority)
			if err == nil || issued != 1 || provider.IsRefused(err) != row.refused ||
				row.unknown && (!provider.StillWorks(err).Unknown || !provider.IsMismatched(err)) {
				t.Errorf("issued %d times, refused %t, %+v: %v", issued, provider.IsRefused(err), provider.StillWorks(err), err)
			}
		})
	}
}

// issue asks for a credential, which is given to nobody.
func (b BackEnd) issue(t *testing.T, url, bundle string) error {
	t.Helper()
	p, l := b.New(t, url, outbound.Settings{}), b.Lease(url, bundle)
	l.Handle = p.Handle(l)
	l.Keep = func(context.Context, string) error { return nil }
	_, err := p.Issue(t.Context(), l)
	return err
}

func (s said) write(w http.ResponseWriter) {
	w.Header().Set("Location", "https://elsewhere.example.com")
	if s.cut {
		w.Header().Set("Content-Length", strconv.Itoa(len(s.body)+1))
	}
	w.WriteHeader(s.status)
	_, _ = io.WriteString(w, s.body)
}

// answers are rows of what can come back. The refusal is the server's own.
func answers(refusal string) []said {
	var all []said
	for _, status := range []int{200, 201, 400, 401, 403, 404, 405, 413, 422, 429, 500, 503} {
		all = append(all, said{name: "in its own form, with a credential beside", status: status, body: withCredential(refusal), unknown: true})
	}
	for _, status := range []int{400, 401, 403, 404, 405, 413, 422, 429} {
		all = append(all, said{name: "in its own form", status: status, body: refusal, refused: true},
			said{name: "in its own form, cut short", status: status, body: refusal, cut: true})
		for name, body := range others(refusal) {
			all = append(all, said{name: name, status: status, body: body})
		}
	}
	for _, status := range []int{402, 406, 408, 409, 410, 412, 423, 425, 451, 499, 500, 501, 502, 503, 504, 599} {
		all = append(all, said{name: "in its own form", status: status, body: refusal}, said{name: "empty", status: status})
	}
	for _, status := range []int{200, 201, 202, 203, 206, 301, 302, 303, 307, 308} {
		all = append(all, said{name: "in its own form", status: status, body: refusal})
		for name, body := range others(refusal) {
			all = append(all, said{name: name, status: status, body: body})
		}
	}
	return append(all, said{name: "empty", status: http.StatusNoContent})
}

// withCredential is a refusal that holds a credential, too.
func withCredential(refusal string) string {
	if body, is := strings.CutSuffix(refusal, "}"); is {
		return body + `,"lease_id":"database/creds/previews/1","lease_duration":900,"data":{"password":"x"},"token":"x","accessToken":"x","access_token":"x"}`
	}
	return strings.Replace(refusal, "</Error>", "</Error><AssumeRoleWithWebIdentityResult><Credentials><SessionToken>x</SessionToken></Credentials></AssumeRoleWithWebIdentityResult>", 1)
}

// others are bodies that a server does not refuse by.
func others(refusal string) map[string]string {
	const page = "<html><head><title>Forbidden</title></head><body>no</body></html>"
	return map[string]string{
		"empty": "", "a page": page, "a page of HTML": "<!DOCTYPE html>" + page, "text": "upstream connect error",
		"an empty object": "{}", "an empty list": "[]", "null": "null", "a text of JSON": `"no"`,
		"a message alone": `{"message":"Forbidden"}`, "a sentence": `{"error":"Not Found","path":"/","status":404}`,
		"a word": `{"error":"forbidden"}`, "an empty error": `{"error":{}}`, "no errors": `{"errors":null}`,
		"errors of another kind":  `{"success":false,"errors":[{"code":1020,"message":"Access denied"}]}`,
		"an error without a code": "<ErrorResponse><Error><Message>no</Message></Error></ErrorResponse>",
		"an error by a word":      `{"error":{"code":403,"message":"no","status":"failed"}}`, "a message with a number": `{"message":"no","documentation_url":"x","status":403}`,
		"an error without message": `{"error":{"code":403,"status":"PERMISSION_DENIED"}}`,
		"its end is missing":       refusal[:len(refusal)-3], "twice": refusal + refusal,
		"too long": refusal + strings.Repeat(" ", 128<<10),
	}
}
