// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package aws

import (
	"bytes"
	"context"
	"encoding/xml"
	"io"
	"net/http"
	"regexp"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/valetkey/valetkey/internal/identity"
	"github.com/valetkey/valetkey/internal/provider/outbound"
)

// connection is what leads to the servers of one provider, for one attempt.
type connection struct{ http *http.Client }

// connect makes a connection to servers that write such errors, which whoever asked for it closes.
func (a *Provider) connect(bundle string, own outbound.Errors) (*connection, error) {
	client, err := a.options.Outbound.Client(bundle, outbound.XML, own)
	if err != nil {
		return nil, refused(err)
	}
	return &connection{http: client}, nil
}

func (c *connection) close() { c.http.CloseIdleConnections() }

// assumption is what STS is asked for.
type assumption struct {
	region, endpoint, role, session, policy string
	token                                   identity.Token
	// audience that the token is for.
	audience string
	duration time.Duration
	// longest says which template makes the policy long; empty for a policy that is made of none.
	longest string
}

// assume asks once. The SDK's own retries are off: the controller backs off, and each try is an attempt of its own in the audit
// log. The client is made of nothing but its arguments: no environment, no file, no metadata service, no credential.
func (c *connection) assume(ctx context.Context, a assumption) (*session, error) {
	read := &reader{client: c.http}
	o := sts.Options{Region: a.region, HTTPClient: read, Retryer: aws.NopRetryer{}, Credentials: aws.AnonymousCredentials{}}
	if a.endpoint != "" {
		o.BaseEndpoint = &a.endpoint
	}
	seconds := int32(a.duration / time.Second)
	answer, err := sts.New(o).AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: &a.role, RoleSessionName: &a.session, Policy: &a.policy, DurationSeconds: &seconds,
		WebIdentityToken: aws.String(a.token.Reveal()),
	})
	if err != nil {
		return nil, classify(err, a)
	}
	packed := answer.PackedPolicySize //nolint:staticcheck // what replaces it says nothing of the session policy
	s := &session{more: read.more, packed: aws.ToInt32(packed), provider: aws.ToString(answer.Provider), audience: aws.ToString(answer.Audience),
		subject: aws.ToString(answer.SubjectFromWebIdentityToken), source: aws.ToString(answer.SourceIdentity)}
	if c := answer.Credentials; c != nil {
		s.keyID, s.secret, s.token, s.expires = aws.ToString(c.AccessKeyId), aws.ToString(c.SecretAccessKey), aws.ToString(c.SessionToken), aws.ToTime(c.Expiration)
	}
	if u := answer.AssumedRoleUser; u != nil {
		s.arn, s.userID = aws.ToString(u.Arn), aws.ToString(u.AssumedRoleId)
	}
	return s, nil
}

// answerFields are the elements of STS's answer. Source:
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html.
var answerFields = []string{"AssumeRoleWithWebIdentityResponse", "ResponseMetadata", "RequestId", "AssumeRoleWithWebIdentityResult",
	"Credentials", "AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration", "AssumedRoleUser", "Arn", "AssumedRoleId",
	"Provider", "Audience", "SubjectFromWebIdentityToken", "SourceIdentity", "PackedPolicySize", "SessionTokenSize",
	"SessionTokenUtilization"}

// harmless is what an element can hold that is not known: AWS adds sizes and flags to its answers, and neither is a
// credential.
var harmless = regexp.MustCompile(`^\s*(\d{1,12}|true|false)?\s*$`)

// hasMore reports whether an answer, which can be read, has more than one element of a name, or one that is not known and
// holds a text.
func hasMore(body []byte) bool {
	seen, within := map[string]bool{}, []string{""}
	for d := xml.NewDecoder(bytes.NewReader(body)); ; {
		token, err := d.Token()
		if err != nil {
			return false
		}
		switch t := token.(type) {
		case xml.StartElement:
			isNamespace := func(a xml.Attr) bool {
				return (a.Name.Local == "xmlns" || a.Name.Space == "xmlns") && outbound.Plain(a.Value)
			}
			if seen[t.Name.Local] || len(slices.DeleteFunc(slices.Clone(t.Attr), isNamespace)) > 0 {
				return true
			}
			seen[t.Name.Local] = true
			within = append(within, t.Name.Local)
		case xml.EndElement:
			within = within[:len(within)-1]
		case xml.CharData:
			if !slices.Contains(answerFields, within[len(within)-1]) && !harmless.Match(t) {
				return true
			}
		}
	}
}

// reader looks at an answer before the SDK does, which drops what it does not know.
type reader struct {
	client *http.Client
	// more reports whether the answer has something that is not known.
	more bool
}

// Do implements [sts.HTTPClient].
func (r *reader) Do(request *http.Request) (*http.Response, error) {
	response, body, err := ask(r.client, request)
	r.more = hasMore(body)
	return response, err
}

// ask sends a question, and returns its answer, and the body of a success beside it.
func ask(client *http.Client, question *http.Request) (*http.Response, []byte, error) {
	response, err := client.Do(question)
	if err != nil || response.StatusCode >= http.StatusMultipleChoices {
		return response, nil, err
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil {
		return nil, nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	return response, body, nil
}
