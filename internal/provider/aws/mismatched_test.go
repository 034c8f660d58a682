// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package aws_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/outbound/outboundtest"
)

// TestIssue_NothingIsProvedOfAnAnswerThatWasNotAskedFor: a denial is about the session and the role that were.
func TestIssue_NothingIsProvedOfAnAnswerThatWasNotAskedFor(t *testing.T) {
	const another = "<AccessKeyId>ASIAOTHER</AccessKeyId><SecretAccessKey>another</SecretAccessKey><SessionToken>another</SessionToken>"
	replaced := func(from, to string) func(string) string {
		return func(text string) string { return strings.Replace(text, from, to, 1) }
	}
	for name, test := range map[string]struct {
		status  int
		change  func(text string) string
		unknown bool
	}{
		"another session":             {change: replaced("assumed-role/publisher/agent-", "assumed-role/publisher/somebody-")},
		"another session's ID":        {change: replaced("AROASTANDIN:agent-", "AROASTANDIN:somebody-")},
		"another role":                {change: replaced("/publisher/", "/other-deployer/")},
		"another account":             {change: replaced(":123456789012:", ":210987654321:")},
		"another identity":            {change: replaced(subject, "system:serviceaccount:identities:admin")},
		"another audience":            {change: between("<Audience>", "</Audience>", "another")},
		"another identity provider":   {change: replaced("issuer.example.com", "elsewhere.example.com")},
		"a person behind it":          {change: replaced("<SourceIdentity>", "<SourceIdentity>somebody")},
		"no session policy":           {change: between("<SourceIdentity>", "</AssumeRoleWithWebIdentityResult>", "</SourceIdentity>")},
		"a session policy of nothing": {change: between("<PackedPolicySize>", "</PackedPolicySize>", "0")},
		"no session":                  {change: between("<Arn>", "</Arn>", "")},
		"no secret":                   {change: between("<SecretAccessKey>", "</SecretAccessKey>", "")},
		"no token":                    {change: between("<SessionToken>", "</SessionToken>", "")},
		"no end":                      {change: between("<Expiration>", "</Expiration>", ""), unknown: true},
		"no credential":               {change: between("<Credentials>", "</Credentials>", ""), unknown: true},
		"a field that is not known":   {change: replaced("<Credentials>", "<Next>"+another+"</Next><Credentials>"), unknown: true},
		"the whole of it, twice": {unknown: true, change: func(text string) string {
			return "<Other>" + text + strings.ReplaceAll(text, "Response", "Answer") + "</Other>"
		}},
		"another credential":           {change: replaced("</AssumeRoleWithWebIdentityResult>", "</AssumeRoleWithWebIdentityResult><Other>"+another+"</Other>"), unknown: true},
		"one within it":                {change: replaced("<Expiration>", "<NextToken>another</NextToken><Expiration>"), unknown: true},
		"an attribute":                 {change: replaced("<Credentials>", `<Credentials next="another">`), unknown: true},
		"doubled":                      {change: replaced("<Expiration>", "<Expiration>2040-01-01T00:00:00Z</Expiration><Expiration>"), unknown: true},
		"nothing":                      {change: func(string) string { return "" }, unknown: true},
		"a page":                       {change: func(string) string { return "<html></html>" }, unknown: true},
		"a success that says an error": {change: func(string) string { return refusalWith("no") }, unknown: true},
		"a credential beside an error": {status: 403, unknown: true, change: func(text string) string {
			return strings.Replace(refusalWith("no"), "</Error>", "</Error>"+text, 1)
		}},
		"a token in an error's words": {status: 403, unknown: true, change: func(string) string {
			return refusalWith("no: " + strings.Repeat("aB3/", 9) + "x7Q2nT8cK4mW9zR5vY1pL6d")
		}},
		"the identity's token in an error's words": {status: 403, unknown: true, change: func(string) string { return refusalWith(identityToken) }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			record := httptest.NewRecorder()
			w.sts.answer(url.Values{"DurationSeconds": {"3600"}, "RoleSessionName": {w.lease().Session()}}).write(record, nil)
			text := record.Body.String()
			changed := test.change(text)
			if changed == text {
				t.Fatal("nothing was changed")
			}
			w.sts.answerNext(func(rw http.ResponseWriter, _ *http.Request) {
				rw.WriteHeader(max(test.status, http.StatusOK))
				_, _ = rw.Write([]byte(changed))
			})
			c, err := w.Issue(t.Context(), w.lease())
			if c != nil {
				t.Fatal("it was given")
			}
			outboundtest.ExpectMismatched(t, err, w.clock.Now(), w.clock.Now().Add(time.Hour), test.unknown)
			expectNoSecret(t, err)
		})
	}
}

// between takes what stands between two marks for something else.
func between(begin, end, instead string) func(string) string {
	return func(text string) string {
		from := strings.Index(text, begin) + len(begin)
		return text[:from] + instead + text[from+strings.Index(text[from:], end):]
	}
}

// refusalWith is STS's own refusal, in these words.
func refusalWith(words string) string {
	return "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>" + words + "</Message></Error><RequestId>1</RequestId></ErrorResponse>"
}

// TestIssue_SizesThatAreNotKnownDoNoHarm: AWS adds such fields to its answers.
func TestIssue_SizesThatAreNotKnownDoNoHarm(t *testing.T) {
	for _, field := range []string{"<SessionTokenSize>1234</SessionTokenSize><SessionTokenUtilization>3</SessionTokenUtilization>",
		"<SomeSize>12</SomeSize>", "<SomeFlags><One>true</One><Two> false </Two></SomeFlags>", "<Empty/>"} {
		w := newWorld(t)
		record := httptest.NewRecorder()
		w.sts.answer(url.Values{"DurationSeconds": {"3600"}, "RoleSessionName": {w.lease().Session()}}).write(record, nil)
		text := strings.Replace(record.Body.String(), "<Credentials>", field+"<Credentials>", 1)
		w.sts.answerNext(func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write([]byte(text)) })
		if _, err := w.Issue(t.Context(), w.lease()); err != nil {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// TestIssue_AnSTSThatDoesNotAnswerHasNotAnsweredOtherwise: what it was asked for can be ended by its session's name.
func TestIssue_AnSTSThatDoesNotAnswerHasNotAnsweredOtherwise(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"it hangs up":      func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"a gateway's page": func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusGatewayTimeout) },
		"it sends elsewhere": func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Location", "/elsewhere")
			rw.WriteHeader(http.StatusFound)
		},
	} {
		w := newWorld(t)
		w.sts.answerNext(answer)
		_, err := w.Issue(t.Context(), w.lease())
		if err == nil || provider.IsMismatched(err) || provider.IsRefused(err) {
			t.Errorf("%s: mismatched %t, refused %t, %v", name, provider.IsMismatched(err), provider.IsRefused(err), err)
		}
	}
}
