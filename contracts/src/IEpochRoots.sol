// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title What `EpochRoots` says and is told: its structs, events and errors
interface IEpochRoots {
    /// @dev What a distributor is made with; none of it can be changed.
    struct Terms {
        address proposer;
        address guardian;
        address arbiter;
        uint64 challengeWindow;
        uint64 verdictWindow;
        uint128 challengeBond;
        uint128 maxEpochIncrease;
    }

    struct Epoch {
        bytes32 root;
        bytes32 logRoot; // commits to the log of receipts and journals behind the root
        uint128 cumulativeTotal; // sum of all leaves
        uint64 activeAt; // first timestamp at which it can be claimed against, unless it is frozen then
        uint32 leafCount;
    }

    struct Challenge {
        address challenger; // zero: there is none
        uint64 verdictBy; // after it anybody may strike the root out
    }

    /// @dev What an epoch's root says of an account.
    struct Leaf {
        uint64 epoch;
        uint128 cumulative;
        bytes32[] proof;
    }

    /// @notice Money for rewards came in. `funded`: all that ever did.
    event Funded(address indexed from, uint128 amount, uint128 funded);
    /// @notice A root waits for its window to end.
    event RootProposed(
        uint64 indexed epoch,
        bytes32 root,
        bytes32 logRoot,
        uint128 cumulativeTotal,
        uint32 leafCount,
        uint64 activeAt,
        string uri
    );
    /// @notice The guardian struck a root, and all after it.
    event RootVetoed(uint64 indexed epoch, bytes32 root, string reason);
    /// @notice Somebody put down a bond against a root: it and all after it pay nothing meanwhile.
    event RootChallenged(
        uint64 indexed epoch, address indexed challenger, bytes32 root, uint64 verdictBy, string evidence
    );
    /// @notice The arbiter has said whether the root holds.
    event ChallengeResolved(uint64 indexed epoch, bytes32 root, bool valid);
    /// @notice No verdict came in time: the root is struck and the bond goes back.
    event ChallengeLapsed(uint64 indexed epoch, bytes32 root);
    event DecreaseProven(uint64 indexed epoch, uint64 earlier, address indexed account, uint128 was, uint128 becomes);
    /// @notice The roots of these epochs are gone; the first of them is proposed again. Follows what caused it.
    event RootsStruck(uint64 indexed first, uint64 last);
    /// @notice A bond is its challenger's again, to be taken.
    event BondReturned(uint64 indexed epoch, address indexed challenger, uint128 amount);
    /// @notice A bond that was given back has left the contract.
    event BondTaken(address indexed challenger, address to, uint128 amount);

    /// @notice A role, or who is paid, must be somebody.
    error ZeroAddress();
    /// @notice Nothing is no amount.
    error ZeroAmount();
    /// @notice A window of the terms is shorter than the least.
    error WindowTooShort(uint64 window, uint64 minimum);
    /// @notice Only the proposer proposes.
    error NotProposer(address caller);
    /// @notice Only the guardian vetoes.
    error NotGuardian(address caller);
    /// @notice Only the arbiter judges.
    error NotArbiter(address caller);
    /// @notice Epochs are proposed one after the other.
    error EpochOutOfOrder(uint64 expected, uint64 given);
    /// @notice A root of zeros is none.
    error EmptyRoot();
    /// @notice As many roots wait as may, so that this one has to.
    error TooManyPending(uint64 epoch);
    /// @notice What all have earned together never falls.
    error TotalDecreased(uint128 previous, uint128 given);
    /// @notice More would be paid for one epoch than the terms allow.
    error IncreaseTooLarge(uint128 increase, uint128 maximum);
    /// @notice More would be promised than has come in.
    error Insolvent(uint128 cumulativeTotal, uint128 funded);
    /// @notice No root of that epoch is kept: it came never, or too long ago, or was struck.
    error EpochUnknown(uint64 epoch);
    /// @notice The root's window has not ended.
    error EpochPending(uint64 epoch, uint64 activeAt);
    /// @notice A challenge stands against this root or one before it.
    error EpochFrozen(uint64 epoch, uint64 frozenFrom);
    /// @notice The root's window has ended: it stands for good.
    error EpochActive(uint64 epoch);
    /// @notice Another root stands for that epoch by now; given is which.
    error RootMoved(uint64 epoch, bytes32 root);
    /// @notice One challenge at a time; given is whose stands.
    error AlreadyChallenged(uint64 epoch, address challenger);
    /// @notice No challenge stands against that epoch.
    error NotChallenged(uint64 epoch);
    /// @notice The arbiter still has time to judge.
    error VerdictAwaited(uint64 epoch, uint64 verdictBy);
    /// @notice Not all of the bond arrived.
    error BondIncomplete(uint128 received, uint128 bond);
    /// @notice There is nothing to give back to that challenger.
    error NoBond(address challenger);
    /// @notice What the later root says an account earned is no less than the earlier says.
    error NoDecrease(uint128 was, uint128 becomes);
    /// @notice The proof does not lead from the account's leaf to the root.
    error InvalidProof(address account);
}
