// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package github

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-github/v88/github"

	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/outbound"
)

// classify sorts what went wrong by the status that GitHub answered. Not one word of an answer is repeated.
func classify(about string, err error, response *github.Response) error {
	if why := outbound.Unsent("GitHub", err); why != "" {
		return provider.NotAsked(provider.Retryable, why)
	}
	switch unread := outbound.Unread("GitHub", err); {
	case unread != "":
		return provider.Mismatched(provider.Retryable, provider.Works{Unknown: true}, unread)
	case response == nil || response.Response == nil:
		return provider.Unanswered(provider.Retryable, "GitHub did not answer")
	}
	e := refusal(about, err, response)
	e.RetryAfter = cmp.Or(e.RetryAfter, outbound.RetryAfter(response.Header))
	return e
}

// refusal sorts an answer that is no success, or none that can be read.
func refusal(about string, err error, response *github.Response) *provider.Error {
	code, own := response.StatusCode, inForm(response)
	refuses := outbound.Refuses(code, own)
	if wait, is := throttles(err, response); is {
		e := provider.Refused(provider.Throttled, refuses, "GitHub throttles")
		e.RetryAfter = wait
		return e
	}
	refusal := func(class provider.Class, words string) *provider.Error {
		return provider.Refused(class, refuses, "GitHub refused: "+words)
	}
	switch {
	case code < http.StatusMultipleChoices:
		return provider.Mismatched(provider.Retryable, provider.Works{Unknown: true}, fmt.Sprintf("GitHub answered with status %d, "+
			"and not in a form that can be read; see what stands between the operator and GitHub", code))
	case code < http.StatusBadRequest:
		return provider.Unanswered(provider.Retryable, fmt.Sprintf("GitHub answered with status %d, which sends elsewhere, and is not followed; "+
			"name the API's own address in the provider's spec.github.apiURL", code))
	case !refuses:
		return provider.Unanswered(provider.Retryable, outbound.Unproven("GitHub", code, own))
	case code == http.StatusUnauthorized:
		return refusal(provider.Retryable, "the App's proof is not accepted; compare appID, the signer's key and the clocks")
	case code == http.StatusForbidden && said(err) == "This installation has been suspended":
		return refusal(provider.Final, about+" is suspended; "+
			"its account's owner can unsuspend it, in the settings of its GitHub Apps")
	case code == http.StatusForbidden:
		return refusal(provider.Final, "the App may not do this by "+about+"; "+
			"see whether it is suspended, and which addresses its account lets in")
	case code == http.StatusNotFound:
		return refusal(provider.Final, "the App has no such installation: "+about)
	case code == http.StatusUnprocessableEntity:
		return refusal(provider.Final, about+" lacks the repository, or one of the permissions; "+
			"an App has an installation of its own for each account, and the provider's spec.github.installationID names one")
	default:
		return refusal(provider.Final, fmt.Sprintf("status %d", code))
	}
}

// ownErrors are errors as GitHub writes them: they have a message, and say where that is explained. Many gateways write
// a message alone. Source: the schemas basic-error and validation-error of
// https://github.com/github/rest-api-description.
var ownErrors = outbound.Errors{
	Fields: []string{"message", "documentation_url", "status", "errors", "errors/resource", "errors/field", "errors/code",
		"errors/message", "errors/value", "errors/index"},
	Text: outbound.Plain,
	Is: func(text []byte) bool {
		var said struct {
			Message       string `json:"message"`
			Documentation string `json:"documentation_url"`
			Status        string `json:"status"`
		}
		return json.Unmarshal(text, &said) == nil && said.Message != "" && said.Documentation != ""
	},
}

// inForm reports whether an answer is such an error: of any other, nothing was read.
func inForm(response *github.Response) bool {
	// go-github has read the body, and put it back.
	text, err := io.ReadAll(response.Body)
	return err == nil && len(text) > 0
}

// said is GitHub's sentence, to be compared.
func said(err error) string {
	if answer := (*github.ErrorResponse)(nil); errors.As(err, &answer) {
		return answer.Message
	}
	return ""
}

// unsaid is how long to leave GitHub alone where it throttles and does not say. Source:
// https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api, as the rest of throttles.
const unsaid = time.Minute

// throttles reports whether GitHub asks to be left alone, and for how long. It does so by 429 or, as it refuses, by
// 403: with Retry-After, with nothing left of the limit, or in its words.
func throttles(err error, response *github.Response) (time.Duration, bool) {
	limited, abused := (*github.RateLimitError)(nil), (*github.AbuseRateLimitError)(nil)
	wait := outbound.RetryAfter(response.Header)
	forbidden := response.StatusCode == http.StatusForbidden
	secondary := forbidden && strings.HasPrefix(said(err), "You have exceeded a secondary rate limit")
	switch {
	case wait > 0 && (forbidden || response.StatusCode == http.StatusTooManyRequests):
		return wait, true
	case errors.As(err, &limited):
		return untilReset(response.Header), true
	case errors.As(err, &abused), secondary, response.StatusCode == http.StatusTooManyRequests:
		return unsaid, true
	}
	return 0, false
}

// untilReset is how long it is until GitHub counts anew, by its own clock, and an hour at the most.
func untilReset(h http.Header) time.Duration {
	now, err := http.ParseTime(h.Get("Date"))
	seconds, errReset := strconv.ParseInt(h.Get(github.HeaderRateReset), 10, 64)
	if err != nil || errReset != nil {
		return unsaid
	}
	return min(max(time.Unix(seconds, 0).Sub(now), time.Second), time.Hour)
}
