// Serves a MongoDB-compatible database on loopback for tests, until it is told to end.
//
// The last line on stdout is its URI, written once connections are accepted; errors go to stderr.
// The data are SQLite files in a directory of their own that goes when the program ends: at SIGTERM, SIGINT or
// SIGHUP and, with --until-eof, when its standard input ends, so that it does not outlive whoever started it.
// Telemetry is off: FerretDB sends none when it is embedded.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/FerretDB/FerretDB/ferretdb"
)

// Nobody needs the data after a crash, so no write waits for the disk.
const pragmas = "?_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)&_pragma=synchronous(off)"

func main() {
	untilEOF := flag.Bool("until-eof", false, "end when standard input ends")
	flag.Parse()
	if err := run(*untilEOF); err != nil {
		fmt.Fprintln(os.Stderr, "mongo-server:", err)
		os.Exit(1)
	}
}

// run serves until a signal or the end of standard input, and removes the data.
func run(untilEOF bool) (err error) {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	eof := make(chan struct{})
	if untilEOF {
		go waitForEOF(eof)
	}

	directory, err := os.MkdirTemp("", "mongo-server-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove(directory)) }()

	uri, err := serve(directory)
	if err != nil {
		return err
	}
	fmt.Println(uri)

	select {
	case <-told:
	case <-eof:
	}
	return nil
}

func waitForEOF(eof chan<- struct{}) {
	_, _ = io.Copy(io.Discard, os.Stdin)
	close(eof)
}

// serve returns the URI of a database that keeps its files in directory and is served until the program ends.
func serve(directory string) (string, error) {
	database, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{TCP: "127.0.0.1:0"},
		Handler:   "sqlite",
		SQLiteURL: "file:" + directory + "/" + pragmas,
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return "", err
	}
	// Never cancelled: an orderly end would wait seconds for every client that is still connected.
	go func() { _ = database.Run(context.Background()) }()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	relay := newRelay(strings.Trim(strings.TrimPrefix(database.MongoDBURI(), "mongodb:"), "/"))
	go relay.accept(listener)
	return fmt.Sprintf("mongodb://%s/", listener.Addr()), nil
}

// remove deletes the directory, again when a write that was under way has made a file in it meanwhile.
func remove(directory string) (err error) {
	for range 10 {
		if err = os.RemoveAll(directory); err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}
