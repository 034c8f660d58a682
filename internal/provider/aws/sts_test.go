// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package aws

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/provider"
)

// recorder notes where a request would have gone.
type recorder struct{ host, scheme string }

func (r *recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	r.host, r.scheme = request.URL.Host, request.URL.Scheme
	return nil, errors.New("not sent")
}

func TestWithoutAnEndpointAWSsOwnOfTheRegionIsAsked(t *testing.T) {
	for region, want := range map[string]string{
		"us-east-1": "sts.us-east-1.amazonaws.com", "eu-central-1": "sts.eu-central-1.amazonaws.com",
		"me-south-1": "sts.me-south-1.amazonaws.com",
		"cn-north-1": "sts.cn-north-1.amazonaws.com.cn", "us-gov-west-1": "sts.us-gov-west-1.amazonaws.com",
		"made-up-1": "sts.made-up-1.amazonaws.com",
	} {
		r := &recorder{}
		client := &connection{http: &http.Client{Transport: r}}
		_, err := client.assume(t.Context(), assumption{region: region, role: "arn:aws:iam::123456789012:role/publisher", session: "agent-x-1", policy: "{}", duration: minimumSession})
		if r.host != want || r.scheme != "https" {
			t.Errorf("%s: %s://%s was asked, want https://%s", region, r.scheme, r.host, want)
		}
		if !provider.IsRetryable(err) || provider.IsRefused(err) {
			t.Errorf("%s: got %v", region, err)
		}
	}
}

func TestAnSTSThatNeverAnswersIsLeft(t *testing.T) {
	done := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		// The head comes, the rest never does.
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-done
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(done) })
	client, err := New(Options{}).connect("", ownErrors)
	if err != nil {
		t.Fatal(err)
	}
	client.http.Timeout = time.Millisecond
	_, err = client.assume(t.Context(), assumption{region: "us-east-1", endpoint: server.URL, role: "r", session: "s-s", policy: "{}", duration: minimumSession})
	if !provider.IsRetryable(err) || provider.IsRefused(err) {
		t.Errorf("got %v", err)
	}
}

func TestTheARNOfARolesSession(t *testing.T) {
	for role, want := range map[string]string{
		"arn:aws:iam::123456789012:role/publisher":            "arn:aws:sts::123456789012:assumed-role/publisher/s",
		"arn:aws:iam::123456789012:role/agents/eu/publisher":  "arn:aws:sts::123456789012:assumed-role/publisher/s",
		"arn:aws-cn:iam::123456789012:role/publisher":         "arn:aws-cn:sts::123456789012:assumed-role/publisher/s",
		"arn:aws-us-gov:iam::123456789012:role/role/iam:role": "arn:aws-us-gov:sts::123456789012:assumed-role/iam:role/s",
	} {
		if got := assumedARN(role, "s"); got != want {
			t.Errorf("%s: got %s, want %s", role, got, want)
		}
	}
}
