// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package prometheus

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"sigs.k8s.io/yaml"
)

// Alert is what Prometheus tells an Alertmanager.
type Alert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	StartsAt    time.Time         `json:"startsAt"`
	EndsAt      time.Time         `json:"endsAt"`
}

// Config is what a Server does.
type Config struct {
	// Dir is where it keeps everything.
	Dir string
	// Scrape is the list scrape_configs.
	Scrape []map[string]any
	// Rules are files of rules.
	Rules []string
	// Told gets every alert that fires, once for each time that Prometheus tells of it.
	Told chan<- Alert
}

// Server is a Prometheus on loopback, a child of this process.
type Server struct {
	cmd    *exec.Cmd
	alerts *http.Server
	exited chan struct{}
}

// Start starts a Prometheus that scrapes and evaluates every second, and tells of alerts.
func (p Programs) Start(ctx context.Context, c Config) (*Server, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{alerts: &http.Server{Handler: receiver(c.Told), ReadHeaderTimeout: time.Minute}, exited: make(chan struct{})}
	go func() { _ = s.alerts.Serve(listener) }() // until Stop
	file, err := c.write(listener.Addr().String())
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(c.Dir, "prometheus.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.cmd = exec.Command(p.Server, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(c.Dir, "data"), "--web.listen-address=127.0.0.1:0",
		"--enable-feature=exemplar-storage")
	s.cmd.Env = []string{} // no proxy leads to the cluster
	s.cmd.Stdout, s.cmd.Stderr = log, log
	// It ends with this process, even if that is killed.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { _ = s.cmd.Wait(); close(s.exited) }() // Stop ends it
	return s, nil
}

func (c Config) write(alertmanager string) (string, error) {
	text, err := yaml.Marshal(map[string]any{
		"global":         map[string]any{"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
		"rule_files":     c.Rules,
		"scrape_configs": c.Scrape,
		"alerting":       map[string]any{"alertmanagers": []any{map[string]any{"static_configs": []any{map[string]any{"targets": []string{alertmanager}}}}}},
	})
	if err != nil {
		return "", err
	}
	file := filepath.Join(c.Dir, "prometheus.yaml")
	return file, os.WriteFile(file, text, 0o600)
}

// receiver is as much of an Alertmanager as Prometheus needs.
func receiver(told chan<- Alert) http.Handler {
	var mu sync.Mutex // alerts come in their order
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var alerts []Alert
		if err := json.NewDecoder(r.Body).Decode(&alerts); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, a := range alerts {
			if a.EndsAt.After(time.Now()) {
				told <- a
			}
		}
	})
}

// Exited is closed when it has ended.
func (s *Server) Exited() <-chan struct{} { return s.exited }

// Stop ends it. An error says that it had ended before.
func (s *Server) Stop() error {
	_ = s.alerts.Close()
	select {
	case <-s.exited:
		return fmt.Errorf("prometheus ended by itself: %s", s.cmd.ProcessState)
	default:
	}
	if err := s.cmd.Process.Kill(); err != nil {
		return err
	}
	<-s.exited
	return nil
}
