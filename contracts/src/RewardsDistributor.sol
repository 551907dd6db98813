// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";

/// @title Rewards by one Merkle root per epoch
/// @notice Every epoch's tree holds, for each account, all that it has *ever* earned. A root becomes claimable after a
/// challenge window in which the guardian may veto it. Anyone may claim for anyone; the money goes to the account.
/// @dev Cumulative leaves after 1inch's cumulative-merkle-drop, delayed activation after EigenLayer's
/// RewardsCoordinator. The contract knows neither inferences nor contributors: `logRoot` commits to the published log
/// from which anyone recomputes `root`.
///
/// What holds at all times: totalClaimed <= cumulativeTotal of the last active epoch <= funded, and
/// token balance >= funded - totalClaimed. `claimed[account]` never falls.
///
/// Roots live in a ring of ROOTS_KEPT slots, so that a proof made before the newest root still works and a new root
/// overwrites storage instead of growing it. With at most MAX_PENDING pending roots, at least
/// ROOTS_KEPT - MAX_PENDING active ones survive, vetoes included.
contract RewardsDistributor {
    using SafeERC20 for IERC20;

    struct Epoch {
        bytes32 root;
        bytes32 logRoot; // commits to the log of receipts and journals behind the root
        uint128 cumulativeTotal; // sum of all leaves
        uint64 activeAt; // first timestamp at which it can be claimed against
        uint32 leafCount;
    }

    struct Claim {
        address account;
        uint128 cumulative;
        bytes32[] proof;
    }

    /// @notice Lowest challenge window that can be deployed, in seconds. It exists so that "no window" is impossible
    /// and development chains stay quick; production deploys at least one day.
    uint64 public constant MIN_WINDOW = 1;
    uint64 public constant ROOTS_KEPT = 8;
    uint64 public constant MAX_PENDING = 4;

    IERC20 public immutable token;
    /// @notice Proposes roots, and can do nothing else.
    address public immutable proposer;
    /// @notice Vetoes pending roots, and can do nothing else; never moves money.
    address public immutable guardian;
    uint64 public immutable challengeWindow;

    /// @notice All that was ever claimed. Shares a storage slot with `lastEpoch`: a claim reads both.
    uint128 public totalClaimed;
    /// @notice The newest epoch proposed and not vetoed; 0 if there is none.
    uint64 public lastEpoch;
    /// @notice All that was ever funded.
    uint128 public funded;
    /// @notice What each account has been paid so far.
    mapping(address account => uint128) public claimed;

    Epoch[ROOTS_KEPT] private _ring;

    event Funded(address indexed from, uint128 amount, uint128 funded);
    event RootProposed(
        uint64 indexed epoch,
        bytes32 root,
        bytes32 logRoot,
        uint128 cumulativeTotal,
        uint32 leafCount,
        uint64 activeAt,
        string uri
    );
    event RootVetoed(uint64 indexed epoch, uint64 lastEpoch, string reason);
    event Claimed(address indexed account, uint64 indexed epoch, uint128 amount, uint128 cumulative);
    /// @notice A leaf of a batch that was not paid: wrong proof, nothing left to claim, or a transfer that failed.
    event ClaimSkipped(address indexed account, uint64 indexed epoch, uint128 cumulative);

    error ZeroAddress();
    error WindowTooShort(uint64 window, uint64 minimum);
    error NotProposer(address caller);
    error NotGuardian(address caller);
    error EpochOutOfOrder(uint64 expected, uint64 given);
    error EmptyRoot();
    error TooManyPending(uint64 epoch);
    error TotalDecreased(uint128 previous, uint128 given);
    error Insolvent(uint128 cumulativeTotal, uint128 funded);
    error EpochUnknown(uint64 epoch);
    error EpochPending(uint64 epoch, uint64 activeAt);
    error EpochActive(uint64 epoch);
    error InvalidProof(address account);
    error NothingToClaim(address account, uint128 claimed);
    error ExceedsTotal(uint128 wouldBeClaimed, uint128 cumulativeTotal);

    constructor(IERC20 token_, address proposer_, address guardian_, uint64 challengeWindow_) {
        if (address(token_) == address(0) || proposer_ == address(0) || guardian_ == address(0)) revert ZeroAddress();
        if (challengeWindow_ < MIN_WINDOW) revert WindowTooShort(challengeWindow_, MIN_WINDOW);
        token = token_;
        proposer = proposer_;
        guardian = guardian_;
        challengeWindow = challengeWindow_;
    }

    /// @notice Adds `amount` from the caller (who approved it) to what may be paid out. Counted by what arrived.
    function fund(uint128 amount) external {
        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(msg.sender, address(this), amount);
        uint128 received = uint128(token.balanceOf(address(this)) - before);
        funded += received;
        emit Funded(msg.sender, received, funded);
    }

    /// @notice Proposes the next epoch's root; it can be claimed against after the challenge window.
    /// @param epoch must be `lastEpoch + 1`, so a transaction sent twice proposes once
    /// @param root Merkle root over leaves keccak(keccak(chainid, this, account, cumulative)), sorted pairs
    /// @param cumulativeTotal sum of all leaves; neither below the previous epoch's nor above `funded`
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
        if (epoch > MAX_PENDING && _slot(epoch - MAX_PENDING).activeAt > block.timestamp) revert TooManyPending(epoch);
        uint128 floor = previous == 0 ? 0 : _slot(previous).cumulativeTotal;
        if (cumulativeTotal < floor) revert TotalDecreased(floor, cumulativeTotal);
        if (cumulativeTotal > funded) revert Insolvent(cumulativeTotal, funded);

        uint64 activeAt = uint64(block.timestamp) + challengeWindow;
        _ring[epoch % ROOTS_KEPT] = Epoch(root, logRoot, cumulativeTotal, activeAt, leafCount);
        lastEpoch = epoch;
        emit RootProposed(epoch, root, logRoot, cumulativeTotal, leafCount, activeAt, uri);
    }

    /// @notice Strikes out a pending root and every root built on it. The epoch is then proposed again.
    function veto(uint64 epoch, string calldata reason) external {
        if (msg.sender != guardian) revert NotGuardian(msg.sender);
        uint64 last = lastEpoch;
        if (epoch == 0 || epoch > last || epoch + ROOTS_KEPT <= last) revert EpochUnknown(epoch);
        if (_slot(epoch).activeAt <= block.timestamp) revert EpochActive(epoch);
        for (uint64 struck = epoch; struck <= last; ++struck) {
            delete _ring[struck % ROOTS_KEPT];
        }
        lastEpoch = epoch - 1;
        emit RootVetoed(epoch, epoch - 1, reason);
    }

    /// @notice Pays `account` what it has earned up to `epoch` and not yet received. Anyone may call.
    /// @return amount what was paid, in atomic units
    function claim(address account, uint128 cumulative, uint64 epoch, bytes32[] calldata proof)
        external
        returns (uint128 amount)
    {
        Epoch storage e = _activeEpoch(epoch);
        if (!MerkleProof.verifyCalldata(proof, e.root, leafOf(account, cumulative))) revert InvalidProof(account);
        uint128 paid = claimed[account];
        if (cumulative <= paid) revert NothingToClaim(account, paid);
        amount = cumulative - paid;
        uint128 total = totalClaimed + amount;
        if (total > e.cumulativeTotal && total > _activeTotal()) revert ExceedsTotal(total, _activeTotal());

        claimed[account] = cumulative;
        totalClaimed = total;
        emit Claimed(account, epoch, amount, cumulative);
        token.safeTransfer(account, amount);
    }

    /// @notice Pays many accounts; what cannot be paid is skipped with an event, so that nobody's claim can block
    /// another's.
    /// @return paid sum of what was paid
    function claimMany(uint64 epoch, Claim[] calldata claims) external returns (uint128 paid) {
        bytes32 root = _activeEpoch(epoch).root;
        uint128 room = _activeTotal() - totalClaimed;
        for (uint256 i = 0; i < claims.length; ++i) {
            uint128 amount = _tryClaim(root, epoch, claims[i], room - paid);
            if (amount == 0) emit ClaimSkipped(claims[i].account, epoch, claims[i].cumulative);
            paid += amount;
        }
        totalClaimed += paid;
    }

    /// @notice The newest epoch that can be claimed against; 0 if there is none.
    function activeEpoch() public view returns (uint64 epoch) {
        epoch = lastEpoch;
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

    /// @dev Pays one leaf of a batch, or returns 0 and leaves nothing changed. `totalClaimed` is the caller's to write.
    function _tryClaim(bytes32 root, uint64 epoch, Claim calldata c, uint128 room) private returns (uint128 amount) {
        uint128 before = claimed[c.account];
        if (c.cumulative <= before || c.cumulative - before > room) return 0;
        if (!MerkleProof.verifyCalldata(c.proof, root, leafOf(c.account, c.cumulative))) return 0;
        amount = c.cumulative - before;
        claimed[c.account] = c.cumulative;
        if (!token.trySafeTransfer(c.account, amount)) {
            claimed[c.account] = before;
            return 0;
        }
        emit Claimed(c.account, epoch, amount, c.cumulative);
    }

    function _activeEpoch(uint64 epoch) private view returns (Epoch storage e) {
        e = _known(epoch);
        if (e.activeAt > block.timestamp) revert EpochPending(epoch, e.activeAt);
    }

    /// @dev A slot is empty if a veto cleared it after it had overwritten an older epoch.
    function _known(uint64 epoch) private view returns (Epoch storage e) {
        uint64 last = lastEpoch;
        if (epoch == 0 || epoch > last || last - epoch >= ROOTS_KEPT) revert EpochUnknown(epoch);
        e = _slot(epoch);
        if (e.root == bytes32(0)) revert EpochUnknown(epoch);
    }

    function _activeTotal() private view returns (uint128) {
        uint64 epoch = activeEpoch();
        return epoch == 0 ? 0 : _slot(epoch).cumulativeTotal;
    }

    function _slot(uint64 epoch) private view returns (Epoch storage) {
        return _ring[epoch % ROOTS_KEPT];
    }
}
