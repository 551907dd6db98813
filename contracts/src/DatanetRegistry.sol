// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title Snapshots of datanets, anchored
/// @notice Fixes the Merkle root of each snapshot's records at a point in time, so that nobody can later say that
/// other records were trained on. Knows roots only: neither the records nor who owns them.
contract DatanetRegistry {
    struct Snapshot {
        bytes32 root; // RFC 6962 root over salted record commitments
        uint64 records;
        uint64 committedAt; // block timestamp, seconds
    }

    /// @notice The only account that may commit.
    address public immutable committer;

    mapping(bytes32 datanetId => mapping(uint64 version => Snapshot)) private _snapshots;

    /// @notice A version of a datanet has its root, for good.
    event SnapshotCommitted(
        bytes32 indexed datanetId, uint64 indexed version, bytes32 root, uint64 records, string uri
    );

    /// @notice The committer must be somebody.
    error ZeroAddress();
    /// @notice Only the committer commits.
    error NotCommitter(address caller);
    /// @notice A snapshot has a root, and records.
    error EmptySnapshot(bytes32 datanetId, uint64 version);
    /// @notice That version has a root already, given here.
    error AlreadyCommitted(bytes32 datanetId, uint64 version, bytes32 root);

    /// @param committer_ the only one who commits
    constructor(address committer_) {
        if (committer_ == address(0)) revert ZeroAddress();
        committer = committer_;
    }

    /// @notice Fixes a snapshot's root, once and for all.
    /// @param datanetId keccak256 of the datanet's resource name
    /// @param uri where the snapshot's manifest is published; kept in the event only
    function commitSnapshot(bytes32 datanetId, uint64 version, bytes32 root, uint64 records, string calldata uri)
        external
    {
        if (msg.sender != committer) revert NotCommitter(msg.sender);
        if (root == bytes32(0) || records == 0) revert EmptySnapshot(datanetId, version);
        Snapshot storage snapshot = _snapshots[datanetId][version];
        if (snapshot.root != bytes32(0)) revert AlreadyCommitted(datanetId, version, snapshot.root);
        snapshot.root = root;
        snapshot.records = records;
        snapshot.committedAt = uint64(block.timestamp);
        emit SnapshotCommitted(datanetId, version, root, records, uri);
    }

    /// @notice The snapshot as committed; all zero if it was not.
    function snapshotOf(bytes32 datanetId, uint64 version) external view returns (Snapshot memory) {
        return _snapshots[datanetId][version];
    }
}
