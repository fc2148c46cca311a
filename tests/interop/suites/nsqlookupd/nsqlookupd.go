// Package nsqlookupd stands in for nsqio/nsq's package of this name while nsqio/nsq's own tests run:
// the same exported API, but each NSQLookupd is a process of the binary that the environment
// variable LOOKUPD names. Tests that read the registration DB get what HTTP answers.
//
// Must not: know which lookupd the binary is.
package nsqlookupd

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"regexp"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nsqio/nsq/internal/lg"
)

const (
	LOG_DEBUG = lg.DEBUG
	// How long the binary may take to listen, and to end at SIGTERM.
	startTimeout = 30 * time.Second
	stopTimeout  = 30 * time.Second
)

type Logger lg.Logger

// Options are nsqlookupd's; Logger and LogLevel are not passed on, since the log says the ports.
type Options struct {
	LogLevel  lg.LogLevel
	LogPrefix string
	Logger    Logger

	TCPAddress       string
	HTTPAddress      string
	BroadcastAddress string

	InactiveProducerTimeout time.Duration
	TombstoneLifetime       time.Duration
}

func NewOptions() *Options {
	hostname, err := os.Hostname()
	if err != nil {
		log.Fatal(err)
	}
	return &Options{
		LogPrefix:               "[nsqlookupd] ",
		LogLevel:                lg.INFO,
		TCPAddress:              "0.0.0.0:4160",
		HTTPAddress:             "0.0.0.0:4161",
		BroadcastAddress:        hostname,
		InactiveProducerTimeout: 300 * time.Second,
		TombstoneLifetime:       45 * time.Second,
	}
}

// NSQLookupd is one process of the binary.
type NSQLookupd struct {
	DB *RegistrationDB

	child     *exec.Cmd
	tcp, http *net.TCPAddr
	exiting   atomic.Bool
	// Closed when the process has ended; `ended` is then its error.
	done  chan struct{}
	ended error
}

// New starts the binary and waits until it listens on both ports.
func New(opts *Options) (*NSQLookupd, error) {
	child := exec.Command(os.Getenv("LOOKUPD"),
		"--tcp-address="+opts.TCPAddress,
		"--http-address="+opts.HTTPAddress,
		"--broadcast-address="+opts.BroadcastAddress,
		"--inactive-producer-timeout="+opts.InactiveProducerTimeout.String(),
		"--tombstone-lifetime="+opts.TombstoneLifetime.String(),
	)
	stderr, err := child.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := child.Start(); err != nil {
		return nil, err
	}
	l := &NSQLookupd{child: child, done: make(chan struct{})}
	listening := make(chan *net.TCPAddr, 2)
	go l.watch(stderr, listening)
	for i := 0; i < 2; i++ {
		select {
		case <-listening:
		case <-l.done:
			return nil, fmt.Errorf("%s ended at its start: %v", child.Path, l.ended)
		case <-time.After(startTimeout):
			l.Exit()
			return nil, fmt.Errorf("%s does not listen after %s", child.Path, startTimeout)
		}
	}
	l.DB = &RegistrationDB{address: l.http.String()}
	return l, nil
}

var listens = regexp.MustCompile(`(TCP|HTTP): listening on (\S+)`)

// watch copies the log to the test's, sends each address that it names, and waits for the end.
func (l *NSQLookupd) watch(stderr io.Reader, listening chan<- *net.TCPAddr) {
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		fmt.Fprintln(os.Stderr, lines.Text())
		if found := listens.FindStringSubmatch(lines.Text()); found != nil {
			address, err := net.ResolveTCPAddr("tcp", found[2])
			if err != nil {
				panic(err)
			}
			if found[1] == "TCP" {
				l.tcp = address
			} else {
				l.http = address
			}
			listening <- address
		}
	}
	l.ended = l.child.Wait()
	close(l.done)
}

// Main waits for the end of the process, which is an error unless Exit asked for it.
func (l *NSQLookupd) Main() error {
	<-l.done
	if l.exiting.Load() {
		return nil
	}
	return fmt.Errorf("%s ended: %v", l.child.Path, l.ended)
}

func (l *NSQLookupd) RealTCPAddr() *net.TCPAddr  { return l.tcp }
func (l *NSQLookupd) RealHTTPAddr() *net.TCPAddr { return l.http }

// Exit ends the process by SIGTERM and waits for that. It panics, which fails the test, when the
// process does not end in time, or not with exit code 0.
func (l *NSQLookupd) Exit() {
	if l.exiting.Swap(true) {
		return
	}
	l.child.Process.Signal(syscall.SIGTERM)
	select {
	case <-l.done:
		if l.ended != nil {
			panic(fmt.Sprintf("%s at SIGTERM: %v", l.child.Path, l.ended))
		}
	case <-time.After(stopTimeout):
		l.child.Process.Kill()
		<-l.done
		panic(fmt.Sprintf("%s still ran %s after SIGTERM", l.child.Path, stopTimeout))
	}
}
