// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {IEpochRoots} from "./IEpochRoots.sol";

/// @title One Merkle root per epoch, and every way to stop a wrong one
/// @notice A proposed root is pending for a window. In it the guardian may veto it, anyone may freeze it by a bonded
/// challenge that an arbiter decides, and anyone who shows that an account's leaf fell strikes it out at once. Whatever
/// strikes a root strikes all that were built on it; the epoch is then proposed again. An active root cannot be stopped
/// by anybody.
/// @dev Knows nothing of who is paid. What holds at all times: an epoch is active only if every earlier one is, an
/// active epoch stays active, cumulativeTotal never falls from one epoch to the next, and `bonds` = the bonds of open
/// challenges + `bondOf` of everybody.
///
/// Roots live in a ring of ROOTS_KEPT slots, so that a proof made before the newest root still works and a new root
/// overwrites storage instead of growing it. With at most MAX_PENDING pending roots, at least
/// ROOTS_KEPT - MAX_PENDING active ones survive, those that were struck included.
abstract contract EpochRoots is IEpochRoots, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @notice Lowest windows that can be deployed, in seconds. It exists so that "no window" is impossible and
    /// development chains stay quick; production deploys at least one day.
    uint64 public constant MIN_WINDOW = 1;
    uint64 public constant ROOTS_KEPT = 8;
    uint64 public constant MAX_PENDING = 4;

    /// @notice In which rewards are paid and bonds are put down.
    IERC20 public immutable token;
    /// @notice Proposes roots, and can do nothing else.
    address public immutable proposer;
    /// @notice Vetoes pending roots, and can do nothing else; never moves money.
    address public immutable guardian;
    /// @notice Says whether a challenged root is right, and can do nothing else; no bond ever goes to it.
    address public immutable arbiter;
    /// @notice Seconds from a root's proposal, or from the last challenge that was dismissed, until it is active.
    uint64 public immutable challengeWindow;
    /// @notice Seconds that the arbiter has for a verdict.
    uint64 public immutable verdictWindow;
    /// @notice What a challenger puts at stake, in atomic units.
    uint128 public immutable challengeBond;
    /// @notice The most by which one root may exceed the one before it. What is lost if proposer, guardian and arbiter
    /// all fail is at most MAX_PENDING times this in a window.
    uint128 public immutable maxEpochIncrease;

    /// @notice All that was ever claimed. Shares a storage slot with the next two: a claim reads all of them.
    uint128 public totalClaimed;
    /// @notice The newest epoch proposed and not struck out; 0 if there is none.
    uint64 public lastEpoch;
    /// @notice The oldest epoch under challenge; it and all after it are frozen. 0 if there is none.
    uint64 public frozenFrom;
    /// @notice All that was ever funded, forfeited bonds included.
    uint128 public funded;
    /// @notice Bonds that the contract holds: at stake, or returned and not taken yet.
    uint128 public bonds;
    mapping(uint64 epoch => Challenge) public challenges;
    /// @notice What a challenger can take back.
    mapping(address challenger => uint128) public bondOf;

    Epoch[ROOTS_KEPT] private _ring;

    /// @param token_ in which rewards are paid
    /// @param terms roles, windows, bond and cap, for good
    constructor(IERC20 token_, Terms memory terms) {
        if (address(token_) == address(0) || terms.proposer == address(0)) revert ZeroAddress();
        if (terms.guardian == address(0) || terms.arbiter == address(0)) revert ZeroAddress();
        if (terms.challengeWindow < MIN_WINDOW) revert WindowTooShort(terms.challengeWindow, MIN_WINDOW);
        if (terms.verdictWindow < MIN_WINDOW) revert WindowTooShort(terms.verdictWindow, MIN_WINDOW);
        if (terms.challengeBond == 0 || terms.maxEpochIncrease == 0) revert ZeroAmount();
        token = token_;
        proposer = terms.proposer;
        guardian = terms.guardian;
        arbiter = terms.arbiter;
        challengeWindow = terms.challengeWindow;
        verdictWindow = terms.verdictWindow;
        challengeBond = terms.challengeBond;
        maxEpochIncrease = terms.maxEpochIncrease;
    }

    /// @notice Proposes the next epoch's root; it can be claimed against after the challenge window.
    /// @param epoch must be `lastEpoch + 1`, so a transaction sent twice proposes once
    /// @param root Merkle root over leaves keccak(keccak(chainid, this, account, cumulative)), sorted pairs
    /// @param cumulativeTotal sum of all leaves; neither below the previous epoch's, nor above it by more than
    /// `maxEpochIncrease`, nor above `funded`
    /// @param uri where the log and the leaves are published; kept in the event only
    function proposeRoot(
        uint64 epoch,
        bytes32 root,
        bytes32 logRoot,
        uint128 cumulativeTotal,
        uint32 leafCount,
        string calldata uri
    ) external {
        if (msg.sender != proposer) revert NotProposer(msg.sender);
        uint64 previous = lastEpoch;
        if (epoch != previous + 1) revert EpochOutOfOrder(previous + 1, epoch);
        if (root == bytes32(0)) revert EmptyRoot();
        if (epoch > MAX_PENDING && !_isActive(epoch - MAX_PENDING)) revert TooManyPending(epoch);
        uint128 floor = previous == 0 ? 0 : _slot(previous).cumulativeTotal;
        if (cumulativeTotal < floor) revert TotalDecreased(floor, cumulativeTotal);
        uint128 increase = cumulativeTotal - floor;
        if (increase > maxEpochIncrease) revert IncreaseTooLarge(increase, maxEpochIncrease);
        if (cumulativeTotal > funded) revert Insolvent(cumulativeTotal, funded);

        uint64 activeAt = uint64(block.timestamp) + challengeWindow;
        _ring[epoch % ROOTS_KEPT] = Epoch(root, logRoot, cumulativeTotal, activeAt, leafCount);
        lastEpoch = epoch;
        emit RootProposed(epoch, root, logRoot, cumulativeTotal, leafCount, activeAt, uri);
    }

    /// @notice Strikes out a pending root, challenged or not, and every root built on it.
    function veto(uint64 epoch, string calldata reason) external {
        if (msg.sender != guardian) revert NotGuardian(msg.sender);
        emit RootVetoed(epoch, _pending(epoch).root, reason);
        _strike(epoch);
    }

    /// @notice Freezes a pending root, and with it every root built on it, until the arbiter has decided. Takes
    /// `challengeBond` of the caller's tokens (approved before). The bond comes back, to be taken by `takeBond`, if the
    /// root is struck out in whatever way; if the arbiter finds the root right, it is added to what may be paid out.
    /// @param root the epoch's root; so that no bond is staked against another that took its place meanwhile
    /// @param evidence where the challenger says what is wrong; kept in the event only
    function challenge(uint64 epoch, bytes32 root, string calldata evidence) external nonReentrant {
        if (_pending(epoch).root != root) revert RootMoved(epoch, _slot(epoch).root);
        address other = challenges[epoch].challenger;
        if (other != address(0)) revert AlreadyChallenged(epoch, other);
        uint64 verdictBy = uint64(block.timestamp) + verdictWindow;
        challenges[epoch] = Challenge(msg.sender, verdictBy);
        if (frozenFrom == 0 || epoch < frozenFrom) frozenFrom = epoch;
        bonds += challengeBond;
        emit RootChallenged(epoch, msg.sender, root, verdictBy, evidence);
        uint128 received = _pull(challengeBond);
        if (received != challengeBond) revert BondIncomplete(received, challengeBond);
    }

    /// @notice The arbiter's verdict on a challenged root: on the root, not on the challenger's reasons.
    /// @dev A dismissed challenge begins the window anew for the root and those after it. Otherwise a friend of the
    /// proposer could challenge for a bad reason and thus keep everybody else from challenging for a good one.
    function resolve(uint64 epoch, bytes32 root, bool valid) external {
        if (msg.sender != arbiter) revert NotArbiter(msg.sender);
        address challenger = challenges[epoch].challenger;
        if (challenger == address(0)) revert NotChallenged(epoch);
        if (_slot(epoch).root != root) revert RootMoved(epoch, _slot(epoch).root);
        emit ChallengeResolved(epoch, root, valid);
        if (!valid) return _strike(epoch);

        delete challenges[epoch];
        bonds -= challengeBond;
        funded += challengeBond;
        emit Funded(challenger, challengeBond, funded);
        uint64 activeAt = uint64(block.timestamp) + challengeWindow;
        uint64 next = 0;
        for (uint64 later = lastEpoch; later >= epoch; --later) {
            if (_slot(later).activeAt < activeAt) _slot(later).activeAt = activeAt;
            if (challenges[later].challenger != address(0)) next = later;
        }
        if (frozenFrom == epoch) frozenFrom = next;
    }

    /// @notice Strikes out a challenged root on which the arbiter has said nothing in its time. Anyone may call.
    function lapse(uint64 epoch) external {
        Challenge memory open = challenges[epoch];
        if (open.challenger == address(0)) revert NotChallenged(epoch);
        if (open.verdictBy >= block.timestamp) revert VerdictAwaited(epoch, open.verdictBy);
        emit ChallengeLapsed(epoch, _slot(epoch).root);
        _strike(epoch);
    }

    /// @notice Strikes out a pending root in which an account has less than in an earlier one. Anyone may call, without
    /// a bond and without the arbiter: two proofs say it all.
    /// @param earlier any epoch before it that the contract still holds
    function proveDecrease(address account, Leaf calldata earlier, Leaf calldata later) external {
        if (earlier.epoch >= later.epoch) revert EpochOutOfOrder(later.epoch, earlier.epoch);
        if (earlier.cumulative <= later.cumulative) revert NoDecrease(earlier.cumulative, later.cumulative);
        _prove(_known(earlier.epoch).root, account, earlier.cumulative, earlier.proof);
        _prove(_pending(later.epoch).root, account, later.cumulative, later.proof);
        emit DecreaseProven(later.epoch, earlier.epoch, account, earlier.cumulative, later.cumulative);
        _strike(later.epoch);
    }

    /// @notice Pays the caller's returned bonds to `to`.
    function takeBond(address to) external nonReentrant returns (uint128 amount) {
        amount = bondOf[msg.sender];
        if (amount == 0) revert NoBond(msg.sender);
        bondOf[msg.sender] = 0;
        bonds -= amount;
        emit BondTaken(msg.sender, to, amount);
        token.safeTransfer(to, amount);
    }

    /// @notice The newest epoch that can be claimed against; 0 if there is none.
    function activeEpoch() public view returns (uint64 epoch) {
        epoch = frozenFrom == 0 ? lastEpoch : frozenFrom - 1;
        while (epoch != 0 && _slot(epoch).activeAt > block.timestamp) --epoch; // at most MAX_PENDING steps
    }

    /// @notice One of the last ROOTS_KEPT epochs, pending or active. Reverts for any other.
    function epochOf(uint64 epoch) external view returns (Epoch memory) {
        return _known(epoch);
    }

    /// @notice The leaf of an account. Hashed twice, so that no inner node can pass for a leaf; bound to the chain and
    /// to this contract, so that no proof works elsewhere.
    function leafOf(address account, uint128 cumulative) public view returns (bytes32) {
        return
            keccak256(bytes.concat(keccak256(abi.encode(block.chainid, address(this), account, uint256(cumulative)))));
    }

    /// @dev Takes tokens from the caller; returns what arrived. For functions that cannot be reentered.
    function _pull(uint128 amount) internal returns (uint128) {
        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(msg.sender, address(this), amount);
        return SafeCast.toUint128(token.balanceOf(address(this)) - before);
    }

    /// @dev An epoch that can be claimed against.
    function _active(uint64 epoch) internal view returns (Epoch storage e) {
        e = _known(epoch);
        if (e.activeAt > block.timestamp) revert EpochPending(epoch, e.activeAt);
        if (frozenFrom != 0 && epoch >= frozenFrom) revert EpochFrozen(epoch, frozenFrom);
    }

    /// @dev The sum of the leaves of the newest active epoch.
    function _activeTotal() internal view returns (uint128) {
        uint64 epoch = activeEpoch();
        return epoch == 0 ? 0 : _slot(epoch).cumulativeTotal;
    }

    function _prove(bytes32 root, address account, uint128 cumulative, bytes32[] calldata proof) internal view {
        if (!MerkleProof.verifyCalldata(proof, root, leafOf(account, cumulative))) revert InvalidProof(account);
    }

    /// @dev Clears a pending epoch and all after it, and gives the challengers of any of them their bonds back. By pull:
    /// a challenger whom the token refuses to pay must not keep a wrong root in place.
    function _strike(uint64 epoch) private {
        uint64 last = lastEpoch;
        emit RootsStruck(epoch, last);
        for (uint64 struck = epoch; struck <= last; ++struck) {
            delete _ring[struck % ROOTS_KEPT];
            address challenger = challenges[struck].challenger;
            if (challenger == address(0)) continue;
            delete challenges[struck];
            bondOf[challenger] += challengeBond;
            emit BondReturned(struck, challenger, challengeBond);
        }
        if (frozenFrom >= epoch) frozenFrom = 0; // the oldest challenge is gone, so no other is left
        lastEpoch = epoch - 1;
    }

    function _pending(uint64 epoch) private view returns (Epoch storage e) {
        e = _known(epoch);
        if (_isActive(epoch)) revert EpochActive(epoch);
    }

    /// @dev A slot is empty if striking cleared it after it had overwritten an older epoch.
    function _known(uint64 epoch) private view returns (Epoch storage e) {
        uint64 last = lastEpoch;
        if (epoch == 0 || epoch > last || last - epoch >= ROOTS_KEPT) revert EpochUnknown(epoch);
        e = _slot(epoch);
        if (e.root == bytes32(0)) revert EpochUnknown(epoch);
    }

    function _isActive(uint64 epoch) private view returns (bool) {
        return _slot(epoch).activeAt <= block.timestamp && (frozenFrom == 0 || epoch < frozenFrom);
    }

    function _slot(uint64 epoch) private view returns (Epoch storage) {
        return _ring[epoch % ROOTS_KEPT];
    }
}
