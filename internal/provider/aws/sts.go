// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package aws

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/identity"
	"github.com/valetkey/valetkey/internal/provider"
)

const (
	// answerTime bounds one call: the controller tries again later.
	answerTime = 10 * time.Second
	// answerSize bounds what is read of an answer; a real one has some 2 KiB.
	answerSize = 64 << 10
	// clockSkew is how far the clocks of STS and operator may be apart before an expiry is not believed.
	clockSkew = 5 * time.Minute
)

// stsClient holds the SDK's calls.
type stsClient struct{ http *http.Client }

// newSTSClient follows no redirect and no proxy of the environment: the token goes to the allowed endpoint or nowhere.
func newSTSClient() *stsClient {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
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

// session is what STS answered.
type session struct {
	keyID, secret, token string
	expires              time.Time
	arn                  string
}

// assume asks once. The SDK's own retries are off: the controller backs off, and each try is an attempt of its own in the audit log.
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

// believable refuses an answer that is not what was asked for: incomplete, expired, living on far beyond what was asked, of
// another role or another session.
func (s *session) believable(now time.Time, l provider.Lease) error {
	asked := max(l.TTL, minimumSession)
	doubt := func(why string) error {
		return &provider.Error{Class: provider.Final, Message: "STS answered with " + why + "; it is not used"}
	}
	switch {
	case s.keyID == "" || s.secret == "" || s.token == "" || s.expires.IsZero():
		return &provider.Error{Class: provider.Retryable, Message: "STS answered without a whole credential"}
	case !plain(s.keyID) || !plain(s.secret) || !plain(s.token):
		return doubt("a credential that holds control characters")
	case !s.expires.After(now):
		return doubt("a credential that has expired already, by the operator's clock")
	case s.expires.After(now.Add(asked + clockSkew)):
		return doubt("a credential that lives longer than was asked for")
	case s.arn != assumedARN(l.Capability.Spec.AWS.RoleARN, l.Session()):
		return doubt("another role or session than was asked for")
	}
	return nil
}

// assumedARN is the ARN of a role's session: the role's path is not part of it.
func assumedARN(role, session string) string {
	prefix, path, _ := strings.Cut(role, ":role/")
	name := path[strings.LastIndex(path, "/")+1:]
	return strings.Replace(prefix, ":iam:", ":sts:", 1) + ":assumed-role/" + name + "/" + session
}

func plain(value string) bool {
	return strings.IndexFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// credential makes what the container is given.
func (s *session) credential(p *v1alpha1.AWSProvider, delivery v1alpha1.CredentialDelivery) (*provider.Credential, error) {
	f := provider.CredentialFields{ID: s.keyID, Principal: s.arn, ExpiresAt: s.expires, Pointers: map[string]string{
		"AWS_REGION": p.Region, "AWS_DEFAULT_REGION": p.Region,
		// The node's own role must not be a way out.
		"AWS_EC2_METADATA_DISABLED": "true",
	}}
	if delivery == v1alpha1.DeliveryEnv {
		f.Variables = map[string]string{"AWS_ACCESS_KEY_ID": s.keyID, "AWS_SECRET_ACCESS_KEY": s.secret, "AWS_SESSION_TOKEN": s.token}
		if p.ServiceEndpoint != "" {
			f.Pointers["AWS_ENDPOINT_URL"] = p.ServiceEndpoint
		}
		return provider.NewCredential(f)
	}
	config := fmt.Sprintf("[default]\nregion = %s\n", p.Region)
	if p.ServiceEndpoint != "" {
		config += fmt.Sprintf("endpoint_url = %s\ns3 =\n  addressing_style = path\n", p.ServiceEndpoint)
	}
	f.Files = map[string]string{
		"aws/credentials": fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\naws_session_token = %s\n", s.keyID, s.secret, s.token),
		"aws/config":      config,
	}
	f.Pointers["AWS_SHARED_CREDENTIALS_FILE"] = v1alpha1.MountPath + "/aws/credentials"
	f.Pointers["AWS_CONFIG_FILE"] = v1alpha1.MountPath + "/aws/config"
	return provider.NewCredential(f)
}

// classify sorts STS's answers by their codes. Not one word of an answer is repeated.
func classify(err error) error {
	var answer smithy.APIError
	if !errors.As(err, &answer) {
		return &provider.Error{Class: provider.Retryable, Message: "STS did not answer, or not in a form that can be read"}
	}
	code := answer.ErrorCode()
	e := &provider.Error{Class: provider.Final, Refused: true, Message: "STS refused: " + known(code)}
	var status *awshttp.ResponseError
	hasStatus := errors.As(err, &status)
	switch code {
	case "ThrottlingException", "Throttling", "RequestLimitExceeded", "TooManyRequestsException", "SlowDown", "RequestThrottled":
		e.Class, e.Message = provider.Throttled, "STS throttles"
		if hasStatus {
			e.RetryAfter = retryAfter(status.Response.Header.Get("Retry-After"))
		}
	case (&types.IDPCommunicationErrorException{}).ErrorCode(), (&types.ExpiredTokenException{}).ErrorCode(), (&types.InvalidIdentityTokenException{}).ErrorCode():
		// Clocks differ, keys of the issuer are fetched late, web identity fails now and then: seen often, and passing.
		e.Class = provider.Retryable
	default:
		if hasStatus && status.HTTPStatusCode() >= http.StatusInternalServerError {
			e.Class, e.Refused, e.Message = provider.Retryable, false, "STS failed"
		}
		if hasStatus && status.HTTPStatusCode() < http.StatusBadRequest {
			e.Class, e.Refused, e.Message = provider.Retryable, false, "STS did not answer in a form that can be read"
		}
	}
	return e
}

// known lets through only the codes that STS documents: what an endpoint invents could carry anything.
func known(code string) string {
	switch code {
	case "AccessDenied", "ExpiredTokenException", "IDPCommunicationError", "IDPRejectedClaim", "InvalidIdentityToken",
		"MalformedPolicyDocument", "MalformedPolicyDocumentException", "PackedPolicyTooLarge", "RegionDisabledException", "ValidationError", "NoSuchEntity",
		"InvalidParameterValue":
		return code
	default:
		return "an undocumented code"
	}
}

// retryAfter reads seconds, up to an hour.
func retryAfter(header string) time.Duration {
	wait, err := time.ParseDuration(header + "s")
	if err != nil || wait < 0 {
		return 0
	}
	return min(wait, time.Hour)
}
