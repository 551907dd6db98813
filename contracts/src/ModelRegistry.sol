// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {DatanetRegistry} from "./DatanetRegistry.sol";

/// @title Published adapter revisions, and how each one's fees are divided
/// @notice Fixes what a revision was made from: contribution index, base model and anchored snapshots. Only the split
/// can change afterwards: its developer announces the change, and it takes effect after a delay in which everybody can
/// see it coming. The contract moves no money and holds no lists: those are in the event, and committed to by hash.
/// @dev What holds at all times: contributors keep at least MIN_CONTRIBUTORS_BPS of what is divided, and every snapshot
/// of a registered revision stands in `datanets` with the very root that the revision names.
contract ModelRegistry {
    struct Snapshot {
        bytes32 datanetId; // keccak256 of the datanet's resource name
        uint64 version;
        bytes32 root;
    }

    /// @dev Basis points of a fee without the platform's part. The rest is the contributors'.
    struct Split {
        uint16 developerBps;
        uint16 stakersBps;
    }

    struct Revision {
        bytes32 indexRoot; // of the contribution index
        bytes32 base; // SHA-256 of the base model's weights
        bytes32 snapshots; // keccak256(abi.encode(Snapshot[])), in the manifest's order
        address developer;
        uint16 developerBps;
        uint16 stakersBps;
        uint64 registeredAt; // block timestamp, seconds
    }

    struct Change {
        uint16 developerBps;
        uint16 stakersBps;
        uint64 activeAt; // first timestamp at which it can be made; 0: none is announced
    }

    uint16 public constant BASIS_POINTS = 10_000;
    /// @notice What no split takes from the contributors.
    uint16 public constant MIN_CONTRIBUTORS_BPS = 5_000;
    /// @notice Lowest delay that can be deployed, in seconds, as with the distributor's window.
    uint64 public constant MIN_DELAY = 1;
    /// @notice How long a change can be made once its delay is over: nobody keeps one ready for ever.
    uint64 public constant GRACE = 14 days;

    /// @notice Where the snapshots must be anchored.
    DatanetRegistry public immutable datanets;
    /// @notice The only account that may register; it can change nothing afterwards.
    address public immutable committer;
    /// @notice Seconds between proposing another split and its being in force.
    uint64 public immutable splitDelay;

    mapping(bytes32 revision => Revision) private _revisions;
    mapping(bytes32 revision => Change) private _changes;

    /// @notice A model is registered: what it is, what it learned from, and who earns with it.
    event RevisionRegistered(
        bytes32 indexed revision,
        address indexed developer,
        bytes32 indexed base,
        bytes32 indexRoot,
        Snapshot[] snapshots,
        Split split,
        string uri
    );
    /// @notice The developer proposed another split, in force from `activeAt` at the earliest.
    event SplitProposed(bytes32 indexed revision, Split split, uint64 activeAt);
    /// @notice The proposed split is off.
    event SplitCancelled(bytes32 indexed revision);
    /// @notice Another split is in force.
    event SplitChanged(bytes32 indexed revision, Split split);

    /// @notice Committer, registry and developer must be somebody.
    error ZeroAddress();
    /// @notice Shorter than the least.
    error DelayTooShort(uint64 delay, uint64 minimum);
    /// @notice Only the committer registers.
    error NotCommitter(address caller);
    /// @notice Only the model's developer changes its split.
    error NotDeveloper(bytes32 revision, address caller);
    /// @notice An index, a base and a snapshot at least make a model.
    error Incomplete(bytes32 revision);
    /// @notice A revision is registered once, for good.
    error AlreadyRegistered(bytes32 revision);
    /// @notice The model names a snapshot that the registry does not have so.
    error SnapshotNotCommitted(bytes32 datanetId, uint64 version, bytes32 root);
    /// @notice Contributors would have less than their least.
    error SplitOutOfBounds(uint16 developerBps, uint16 stakersBps);
    /// @notice No change of split stands.
    error NothingProposed(bytes32 revision);
    /// @notice The change can be made from `activeAt` on.
    error TooEarly(uint64 activeAt);
    /// @notice The change could be made until then.
    error Lapsed(uint64 until);

    /// @param committer_ the only one who registers
    /// @param datanets_ where snapshots are committed
    /// @param splitDelay_ seconds that a change of split is known before it is in force
    constructor(address committer_, DatanetRegistry datanets_, uint64 splitDelay_) {
        if (committer_ == address(0) || address(datanets_) == address(0)) revert ZeroAddress();
        if (splitDelay_ < MIN_DELAY) revert DelayTooShort(splitDelay_, MIN_DELAY);
        committer = committer_;
        datanets = datanets_;
        splitDelay = splitDelay_;
    }

    modifier onlyDeveloper(bytes32 revision) {
        if (msg.sender != _revisions[revision].developer) revert NotDeveloper(revision, msg.sender);
        _;
    }

    /// @notice Fixes a revision, once and for all but for its split.
    /// @param revision SHA-256 of its lineage manifest, which names all of the rest
    /// @param uri its resource name; kept in the event only
    function register(
        bytes32 revision,
        bytes32 indexRoot,
        bytes32 base,
        Snapshot[] calldata snapshots,
        address developer,
        Split calldata split,
        string calldata uri
    ) external {
        if (msg.sender != committer) revert NotCommitter(msg.sender);
        if (developer == address(0)) revert ZeroAddress();
        if (revision == 0 || indexRoot == 0 || base == 0 || snapshots.length == 0) revert Incomplete(revision);
        if (_revisions[revision].developer != address(0)) revert AlreadyRegistered(revision);
        _check(split);
        _check(snapshots);
        _revisions[revision] = Revision({
            indexRoot: indexRoot,
            base: base,
            snapshots: keccak256(abi.encode(snapshots)),
            developer: developer,
            developerBps: split.developerBps,
            stakersBps: split.stakersBps,
            registeredAt: uint64(block.timestamp)
        });
        emit RevisionRegistered(revision, developer, base, indexRoot, snapshots, split, uri);
    }

    /// @notice Announces another split. Takes the place of one that was announced before, whose time begins anew.
    function proposeSplit(bytes32 revision, Split calldata split) external onlyDeveloper(revision) {
        _check(split);
        uint64 activeAt = uint64(block.timestamp) + splitDelay;
        _changes[revision] = Change(split.developerBps, split.stakersBps, activeAt);
        emit SplitProposed(revision, split, activeAt);
    }

    /// @notice Makes the announced change, from its time on and for GRACE seconds.
    function activateSplit(bytes32 revision) external onlyDeveloper(revision) {
        Change memory change = _changes[revision];
        if (change.activeAt == 0) revert NothingProposed(revision);
        if (block.timestamp < change.activeAt) revert TooEarly(change.activeAt);
        uint64 until = change.activeAt + GRACE;
        if (block.timestamp >= until) revert Lapsed(until);
        delete _changes[revision];
        Revision storage known = _revisions[revision];
        known.developerBps = change.developerBps;
        known.stakersBps = change.stakersBps;
        emit SplitChanged(revision, Split(change.developerBps, change.stakersBps));
    }

    /// @notice Takes an announced change back.
    function cancelSplit(bytes32 revision) external onlyDeveloper(revision) {
        if (_changes[revision].activeAt == 0) revert NothingProposed(revision);
        delete _changes[revision];
        emit SplitCancelled(revision);
    }

    /// @notice The revision as it stands, with the split in force; all zero if it is not registered.
    function revisionOf(bytes32 revision) external view returns (Revision memory) {
        return _revisions[revision];
    }

    /// @notice The announced change of a revision's split, lapsed or not; all zero if there is none.
    function changeOf(bytes32 revision) external view returns (Change memory) {
        return _changes[revision];
    }

    function _check(Split calldata split) private pure {
        if (uint256(split.developerBps) + split.stakersBps > BASIS_POINTS - MIN_CONTRIBUTORS_BPS) {
            revert SplitOutOfBounds(split.developerBps, split.stakersBps);
        }
    }

    /// @dev A root of zero would equal that of a snapshot that was never committed.
    function _check(Snapshot[] calldata snapshots) private view {
        for (uint256 i = 0; i < snapshots.length; ++i) {
            Snapshot calldata s = snapshots[i];
            if (s.root == 0 || datanets.snapshotOf(s.datanetId, s.version).root != s.root) {
                revert SnapshotNotCommitted(s.datanetId, s.version, s.root);
            }
        }
    }
}
