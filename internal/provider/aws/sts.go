// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package aws

import (
	"context"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/valetkey/valetkey/internal/identity"
)

const (
	// answerTime bounds one call: the controller tries again later.
	answerTime = 10 * time.Second
	// answerSize bounds what is read of an answer; a real one has some 2 KiB.
	answerSize = 64 << 10
)

// stsClient holds the SDK's calls.
type stsClient struct{ http *http.Client }

// newSTSClient goes straight to the endpoint that an administrator allowed, or nowhere. It follows no redirect, and no proxy
// variable of the operator's environment: either would let something that no flag names see an identity's token.
func newSTSClient() *stsClient {
	dialer := &net.Dialer{Timeout: answerTime, KeepAlive: 30 * time.Second}
	transport := &http.Transport{
		DialContext: dialer.DialContext, ForceAttemptHTTP2: true, TLSHandshakeTimeout: answerTime,
		MaxIdleConnsPerHost: 16, IdleConnTimeout: 90 * time.Second, MaxResponseHeaderBytes: answerSize,
	}
	return &stsClient{http: &http.Client{
		Transport:     boundedTransport{transport},
		Timeout:       answerTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// boundedTransport reads no more of an answer than a real one can have.
type boundedTransport struct{ next http.RoundTripper }

func (t boundedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	response.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(response.Body, answerSize), response.Body}
	return response, nil
}

// assumption is what STS is asked for.
type assumption struct {
	region, endpoint, role, session, policy string
	token                                   identity.Token
	duration                                time.Duration
}

// assume asks once. The SDK's own retries are off: the controller backs off, and each try is an attempt of its own in the audit
// log. The client is made of nothing but its arguments: no environment, no file, no metadata service, no credential.
func (c *stsClient) assume(ctx context.Context, a assumption) (*session, error) {
	o := sts.Options{Region: a.region, HTTPClient: c.http, Retryer: aws.NopRetryer{}, Credentials: aws.AnonymousCredentials{}}
	if a.endpoint != "" {
		o.BaseEndpoint = &a.endpoint
	}
	seconds := int32(a.duration / time.Second)
	answer, err := sts.New(o).AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: &a.role, RoleSessionName: &a.session, Policy: &a.policy, DurationSeconds: &seconds,
		WebIdentityToken: aws.String(a.token.Reveal()),
	})
	if err != nil {
		return nil, classify(err)
	}
	s := &session{}
	if c := answer.Credentials; c != nil {
		s.keyID, s.secret, s.token, s.expires = aws.ToString(c.AccessKeyId), aws.ToString(c.SecretAccessKey), aws.ToString(c.SessionToken), aws.ToTime(c.Expiration)
	}
	if u := answer.AssumedRoleUser; u != nil {
		s.arn = aws.ToString(u.Arn)
	}
	return s, nil
}
